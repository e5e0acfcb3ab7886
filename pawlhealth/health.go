// Package pawlhealth answers the health probes of load balancers, systemd and Kubernetes over HTTP.
package pawlhealth

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/pawlhq/pawl"
)

// timeout is how long readiness waits for the database; a probe that gives up before ends it then.
const timeout = 5 * time.Second

// Handler answers GET /healthz with 200 as long as the process serves HTTP at all, and GET /readyz with 200 if [pawl.Client.Ready]
// is nil, else with 503 and the reason as text. The reason may name hosts, databases and roles, never passwords: keep it from
// strangers. For other paths use http.StripPrefix.
//
// Do not restart a process because it is not ready: a runner outlives an outage of the database, and its restart helps nobody.
func Handler(client *pawl.Client) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { say(w, http.StatusOK, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), timeout)
		defer cancel()
		if err := client.Ready(ctx); err != nil {
			say(w, http.StatusServiceUnavailable, err.Error())
			return
		}
		say(w, http.StatusOK, "ok")
	})
	return mux
}

func say(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	fmt.Fprintln(w, text)
}
