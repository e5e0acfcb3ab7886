package pawl_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/internal/pgtest"
)

// runOne inserts a job and runs it. The runner has slept before, so that it has opened its own connections and the
// one that listens.
func runOne(t *testing.T, pool *pgxpool.Pool, watch *pgxpool.Pool) {
	t.Helper()
	client, err := pawl.New(pool, pawl.Config{Logger: slog.New(slog.NewTextHandler(t.Output(),
		&slog.HandlerOptions{Level: slog.LevelWarn}))})
	must(t, err)
	ran := make(chan int, 1)
	mux := new(pawl.Mux)
	pawl.Handle(mux, func(_ context.Context, job *pawl.Job[Note]) error { ran <- job.Args.N; return nil })
	stop := start(t, client, mux, pawl.RunnerConfig{})
	awaitSleepers(t, watch, 1)
	insert(t, client, Note{7})
	if n := <-ran; n != 7 {
		t.Errorf("ran %d", n)
	}
	must(t, stop())
}

// withPassword returns the URL of a server that asks the role app for its password, "a secret". The URL has the role,
// without the password.
func withPassword(t *testing.T) (owner *pgxpool.Pool, at *url.URL) {
	t.Helper()
	server := pgtest.Server(t)
	owner = pgtest.Pool(t, server.URL("postgres"))
	client, err := pawl.New(owner, pawl.Config{})
	must(t, err)
	must(t, client.Migrate(t.Context()))
	must(t, client.CreateRoles(t.Context()))
	exec(t, owner, "create role app login password 'a secret'; grant pawl_worker to app")
	access := filepath.Join(server.Dir(), "data", "pg_hba.conf")
	was, err := os.ReadFile(access)
	must(t, err)
	must(t, os.WriteFile(access, append([]byte("local all app scram-sha-256\n"), was...), 0o600))
	exec(t, owner, "select pg_reload_conf()")

	at, err = url.Parse(server.URL("postgres"))
	must(t, err)
	query := at.Query()
	query.Set("user", "app")
	query.Set("passfile", filepath.Join(t.TempDir(), "none"))
	at.RawQuery = query.Encode()
	pgtest.Wait(t, "passwords to be asked for", func() bool {
		without, err := pgxpool.New(t.Context(), at.String())
		must(t, err)
		defer without.Close()
		return without.Ping(t.Context()) != nil
	})
	return owner, at
}

// Every connection gets its password from the pgpass file, also the runner's own connections and the one that
// listens.
func TestPgpass(t *testing.T) {
	t.Parallel()
	owner, at := withPassword(t)
	file := filepath.Join(t.TempDir(), "pgpass")
	must(t, os.WriteFile(file, []byte("elsewhere:*:*:app:another\n*:*:postgres:app:a secret\n"), 0o600))
	query := at.Query()
	query.Set("passfile", file)
	at.RawQuery = query.Encode()
	runOne(t, pgtest.Pool(t, at.String()), owner)
}

// Passwords that change come from the pool's BeforeConnect. Doctor tries LISTEN with it too, as runners do.
func TestBeforeConnectSetsThePassword(t *testing.T) {
	t.Parallel()
	owner, at := withPassword(t)
	pool := pgtest.Pool(t, at.String(), func(c *pgxpool.Config) {
		c.BeforeConnect = func(_ context.Context, config *pgx.ConnConfig) error {
			config.Password = "a secret"
			return nil
		}
	})
	runOne(t, pool, owner)
	client, err := pawl.New(pool, pawl.Config{})
	must(t, err)
	findings, err := client.Doctor(t.Context())
	must(t, err)
	for _, f := range findings {
		if f.Check == "listen" || f.Check == "pooler" {
			t.Errorf("LISTEN works, but Doctor says: %+v", f)
		}
	}
}

// With sslmode and sslrootcert, nothing is sent to the server in the clear.
func TestTLS(t *testing.T) {
	t.Parallel()
	direct, err := url.Parse(pgtest.Direct(t, pgtest.Database(t)))
	must(t, err)
	host := direct.Query().Get("host")
	if host == "" || host[0] != '/' {
		t.Skip("the server is not on a socket: it may have TLS itself")
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "pawl test"},
		DNSNames: []string{"localhost"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature}
	signed, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	must(t, err)
	root := filepath.Join(t.TempDir(), "root.crt")
	must(t, os.WriteFile(root, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: signed}), 0o600))
	front, err := net.Listen("tcp", "localhost:0")
	must(t, err)
	var all sync.WaitGroup
	t.Cleanup(func() { front.Close(); all.Wait() })
	all.Go(func() {
		for {
			client, err := front.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				if err := terminate(client, tls.Certificate{Certificate: [][]byte{signed}, PrivateKey: key},
					filepath.Join(host, ".s.PGSQL."+direct.Query().Get("port"))); err != nil {
					t.Log(err) // The clear one below ends so.
				}
			})
		}
	})
	at := func(settings string) string {
		return fmt.Sprintf("postgres://%s@%s%s?%s", direct.Query().Get("user"), front.Addr(), direct.Path, settings)
	}
	for _, settings := range []string{"sslmode=disable", "sslmode=verify-full", "sslmode=verify-full&sslrootcert=" +
		filepath.Join(host, "none")} {
		config, err := pgxpool.ParseConfig(at(settings))
		if err != nil {
			continue // The root that is not there.
		}
		pool, err := pgxpool.NewWithConfig(t.Context(), config)
		must(t, err)
		if err := pool.Ping(t.Context()); err == nil {
			t.Errorf("%s: connected", settings)
		}
		pool.Close()
	}
	settings := "sslmode=verify-full&sslrootcert=" + url.QueryEscape(root)
	where := at(settings)
	localhost, err := url.Parse(where)
	must(t, err)
	localhost.Host = "localhost:" + localhost.Port()
	runOne(t, pgtest.Pool(t, localhost.String()), pgtest.Pool(t, direct.String()))
}

// terminate is a proxy that speaks TLS with the client and plain text with the server. It refuses a client that does
// not ask for TLS.
func terminate(client net.Conn, certificate tls.Certificate, socket string) error {
	defer client.Close()
	request := make([]byte, 8)
	if _, err := io.ReadFull(client, request); err != nil {
		return err
	}
	if string(request) != "\x00\x00\x00\x08\x04\xd2\x16\x2f" { // SSLRequest.
		return fmt.Errorf("in the clear: %q", request)
	}
	if _, err := client.Write([]byte("S")); err != nil {
		return err
	}
	secure := tls.Server(client, &tls.Config{Certificates: []tls.Certificate{certificate}})
	server, err := net.Dial("unix", socket)
	if err != nil {
		return err
	}
	defer server.Close()
	go func() {
		io.Copy(server, secure)
		server.Close()
	}()
	_, err = io.Copy(secure, server)
	return err
}
