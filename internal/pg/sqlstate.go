package pg

import (
	"errors"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// SQLState returns the SQLSTATE of an error of any driver. It returns "" if the server sent none, because the
// connection failed.
func SQLState(err error) string {
	if state, ok := errors.AsType[interface {
		error
		SQLState() string
	}](err); ok {
		return state.SQLState()
	}
	return ""
}

// IsDataError reports whether the data of a statement was refused, so that the same statement may succeed with other
// data.
func IsDataError(err error) bool {
	s := SQLState(err)
	return IsTooLarge(err) || strings.HasPrefix(s, "22") || strings.HasPrefix(s, "23") || strings.HasPrefix(s, "54")
}

// IsUnreadable reports whether the server failed to compute, encode or send a row. One row may be at fault, and the
// same statement may succeed without it.
func IsUnreadable(err error) bool {
	s := SQLState(err)
	return s == outOfMemory || len(s) == 5 && slices.Contains([]string{"22", "54", "0A", "XX"}, s[:2])
}

// outOfMemory is the SQLSTATE of a server that has no memory for a statement. It may pass, or a value is too large.
const outOfMemory = "53200"

// IsOutOfMemory reports whether the server had no memory for a statement.
func IsOutOfMemory(err error) bool { return SQLState(err) == outOfMemory }

// IsInternal reports whether the server failed in a way that may pass, or that a broken row may cause: an internal
// error, broken data, or a plan that a migration made invalid.
func IsInternal(err error) bool {
	s := SQLState(err)
	return strings.HasPrefix(s, "XX") || strings.HasPrefix(s, "0A")
}

// IsTooLarge reports whether a statement was not sent because its parameters do not fit into one message of the
// protocol, which is 1 GB. pgx has no type for this error.
func IsTooLarge(err error) bool {
	return err != nil && strings.Contains(err.Error(), "message body too large")
}

// IsMissing reports whether a schema, table, column or function that the statement names does not exist.
func IsMissing(err error) bool {
	switch SQLState(err) {
	case "3F000", "42P01", "42703", "42883":
		return true
	}
	return false
}

// IsTransient reports whether the same statement may succeed later: the connection failed, the server is restarting
// or out of resources, or a lock was not available.
func IsTransient(err error) bool {
	switch s := SQLState(err); s {
	case "":
		return !IsTooLarge(err)
	case "40001", "40P01", "55P03", "25006":
		return true
	default:
		return strings.HasPrefix(s, "08") || strings.HasPrefix(s, "53") || strings.HasPrefix(s, "57")
	}
}

// MayPass reports whether the same statement may succeed later with the same data: the error is transient, or an
// operator may mend its cause. A privilege was revoked, the login is refused, or the database or a part of the schema
// is missing.
func MayPass(err error) bool {
	s := SQLState(err)
	return IsTransient(err) || IsMissing(err) || s == "42501" || s == "3D000" || strings.HasPrefix(s, "28")
}

// IsAmbiguous reports whether the server may have carried out the statement although it failed: the statement was
// sent, and then the connection failed or the server closed it, which can happen between the commit and its
// confirmation.
func IsAmbiguous(err error) bool {
	if err == nil || pgconn.SafeToRetry(err) || IsTooLarge(err) {
		return false
	}
	s := SQLState(err)
	return s == "" || strings.HasPrefix(s, "57P") || strings.HasPrefix(s, "08")
}
