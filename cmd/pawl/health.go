package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/pawlhq/pawl/cmd/pawl/internal/program"
	"github.com/pawlhq/pawl/cmd/pawl/internal/settings"
)

func healthCommand(p *program.Program) *cobra.Command {
	var ready bool
	command := &cobra.Command{
		Use:   "health",
		Short: "Check a pawl that serves HTTP on this machine",
		Long: `Health requests /healthz at the address of --listen, or /readyz with --ready. The exit code is 0
if the process is healthy, and 1 if it is not; standard error says why. Health waits at most four seconds. Use
it for the health checks of containers that contain no other program.`,
		Args:    cobra.NoArgs,
		GroupID: groupRun,
		RunE: func(command *cobra.Command, _ []string) error {
			s, err := p.LoadSettings()
			if err != nil {
				return err
			}
			path := "/healthz"
			if ready {
				path = "/readyz"
			}
			url := "http://" + localAddress(s.Listen) + path
			request, err := http.NewRequestWithContext(command.Context(), http.MethodGet, url, nil)
			if err != nil {
				return err
			}
			withoutProxy := &http.Client{Timeout: 4 * time.Second, Transport: &http.Transport{}}
			response, err := withoutProxy.Do(request)
			if err != nil {
				return err
			}
			defer response.Body.Close()
			body, err := io.ReadAll(io.LimitReader(response.Body, 4096))
			if err == nil && response.StatusCode != http.StatusOK {
				err = fmt.Errorf("%s is %s: %s", path, response.Status, strings.TrimSpace(string(body)))
			}
			return err
		},
	}
	settings.AddFlags(command, command.Flags(), "listen")
	command.Flags().BoolVar(&ready, "ready", false, "check also whether the database can be used")
	return command
}

// localAddress returns where this machine reaches a server that listens on an address. A server on all addresses also
// listens on the loopback address.
func localAddress(address string) string {
	host, port, err := net.SplitHostPort(address)
	if ip := net.ParseIP(host); err == nil && (host == "" || ip != nil && ip.IsUnspecified()) {
		return net.JoinHostPort("127.0.0.1", port)
	}
	return address
}
