package settings

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"strings"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawlhq/pawl"
)

// ParseDSN checks a dsn: a URL or key=value words.
func ParseDSN(text string) (string, error) {
	if _, err := pgxpool.ParseConfig(text); err != nil {
		if cause := errors.Unwrap(err); cause != nil { // err itself may contain the password.
			return "", fmt.Errorf("%q is not a database: %w", hidePasswords(text), cause)
		}
		return "", fmt.Errorf("%q is not a database: want postgres://user@host:port/database, or key=value words",
			hidePasswords(text))
	}
	return text, nil
}

func parseAddress(text string) (string, error) {
	if _, _, err := net.SplitHostPort(text); err != nil {
		return "", fmt.Errorf("%q: want address:port, such as 127.0.0.1:8484 or :8484", text)
	}
	return text, nil
}

func parseSchema(text string) (string, error) {
	if text == "" {
		return "", errors.New("the schema's name is empty") // An unset variable in a script must not select the default.
	}
	_, err := pawl.New(nil, pawl.Config{Schema: text})
	if err != nil {
		return "", errors.New(strings.TrimPrefix(err.Error(), "pawl: Config.Schema: "))
	}
	return text, nil
}

var passwordWord = regexp.MustCompile(`(?i)(password\s*=\s*)('(?:[^'\\]|\\.)*'?|[^\s&]*)`)

// hidePasswords replaces the passwords in a dsn.
func hidePasswords(dsn string) string {
	if u, err := url.Parse(dsn); err == nil && u.User != nil {
		if _, has := u.User.Password(); has {
			u.User = url.UserPassword(u.User.Username(), "xxxxx")
			dsn = u.String()
		}
	} else if i, j := strings.Index(dsn, "://"), strings.LastIndex(dsn, "@"); i >= 0 && j > i {
		dsn = dsn[:i+3] + "xxxxx" + dsn[j:] // The URL is not valid.
	}
	return passwordWord.ReplaceAllString(dsn, "${1}xxxxx")
}
