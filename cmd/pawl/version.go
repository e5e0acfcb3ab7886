package main

import (
	"cmp"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/spf13/cobra"

	"github.com/pawlhq/pawl/cmd/pawl/internal/program"
)

// release is set in release builds: -ldflags "-X main.release=v1.2.3".
var release string

type build struct {
	Version  string    `json:"version"`
	Commit   string    `json:"commit"`
	At       time.Time `json:"commit_at"`
	Modified bool      `json:"modified"`
	Go       string    `json:"go"`
	Platform string    `json:"platform"`
}

// version returns what the build recorded.
func version() build {
	b := build{Version: "devel", Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	if info, ok := debug.ReadBuildInfo(); ok {
		if info.Main.Version != "(devel)" {
			b.Version = cmp.Or(info.Main.Version, b.Version)
		}
		for _, s := range info.Settings {
			switch s.Key {
			case "vcs.revision":
				b.Commit = s.Value
			case "vcs.time":
				b.At, _ = time.Parse(time.RFC3339, s.Value)
			case "vcs.modified":
				b.Modified = s.Value == "true"
			}
		}
	}
	b.Version = cmp.Or(release, b.Version)
	return b
}

func versionCommand(p *program.Program) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Show what this binary was built from",
		Args:  cobra.NoArgs,
		RunE:  func(*cobra.Command, []string) error { return p.Print(version()) },
	}
}
