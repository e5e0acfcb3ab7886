// Package pawlhealth serves health probes over HTTP for load balancers, systemd and Kubernetes.
package pawlhealth

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/pawlhq/pawl"
)

// timeout is how long a readiness probe waits for the database.
const timeout = 5 * time.Second

// Handler returns an HTTP handler for health probes.
//
//   - GET /healthz responds with 200 for as long as the process serves HTTP.
//   - GET /readyz responds with 200 if [pawl.Client.Ready] returns nil. Otherwise it responds with 503 and the reason
//     as text, such as claims of the client's runners that fail. It waits at most 5 seconds for the database.
//
// The reason may contain the names of hosts, databases and roles, but no passwords: do not serve it to the public. To
// serve other paths, use http.StripPrefix.
//
// Do not restart a process because it is not ready. If the database goes away, a runner waits for it and continues.
func Handler(client *pawl.Client) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { respond(w, http.StatusOK, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), timeout)
		defer cancel()
		if err := client.Ready(ctx); err != nil {
			respond(w, http.StatusServiceUnavailable, err.Error())
			return
		}
		respond(w, http.StatusOK, "ok")
	})
	return mux
}

func respond(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	fmt.Fprintln(w, text)
}
