package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/cmd/pawl/internal/flagvalue"
	"github.com/pawlhq/pawl/cmd/pawl/internal/program"
	"github.com/pawlhq/pawl/cmd/pawl/internal/settings"
	"github.com/pawlhq/pawl/pawlprom"
)

// The files that deploy pawl name its commands, flags, settings and metrics. These tests fail when one of them is
// renamed.

const repository = "../.."

func readFile(t *testing.T, name string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(repository, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// documents returns the documents of a YAML file.
func documents[T any](t *testing.T, name string) (all []T) {
	t.Helper()
	decoder := yaml.NewDecoder(strings.NewReader(readFile(t, name)))
	for {
		var document T
		err := decoder.Decode(&document)
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		all = append(all, document)
	}
}

// accepts fails the test if pawl does not accept the arguments.
func accepts(t *testing.T, place string, args []string) (command *cobra.Command) {
	t.Helper()
	command, rest, err := rootCommand(&program.Program{}).Find(args)
	if err == nil {
		err = command.ParseFlags(rest)
	}
	if err == nil {
		err = command.ValidateArgs(command.Flags().Args())
	}
	if err == nil && !command.Runnable() {
		err = errors.New("the command does not run")
	}
	if err != nil {
		t.Errorf("%s: pawl %s: %v", place, strings.Join(args, " "), err)
	}
	return command
}

// isSetting fails the test if a variable PAWL_… is not a setting, or its value is not valid.
func isSetting(t *testing.T, place, name, value string) {
	t.Helper()
	if !strings.HasPrefix(name, "PAWL_") {
		return
	}
	if err := settings.CheckVariable(name, value); err != nil {
		t.Errorf("%s: %v", place, err)
	}
}

func TestEveryYAMLFileIsOne(t *testing.T) {
	t.Parallel()
	count := 0
	err := fs.WalkDir(os.DirFS(repository), ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		built := slices.Contains([]string{".git", "bin", "dist"}, path)
		if entry.IsDir() && (built || entry.Name() == "testdata" || entry.Name() == "node_modules") {
			return fs.SkipDir
		}
		if ext := filepath.Ext(path); ext == ".yaml" || ext == ".yml" {
			count++
			documents[any](t, path)
		}
		return nil
	})
	if err != nil || count < 10 {
		t.Errorf("%d YAML files, %v", count, err)
	}
}

type container struct {
	Image string
	Args  []string
	Env   []struct {
		Name, Value string
		ValueFrom   struct {
			SecretKeyRef struct{ Name, Key string } `yaml:"secretKeyRef"`
		} `yaml:"valueFrom"`
	}
	Ports []struct {
		Name          string
		ContainerPort int `yaml:"containerPort"`
	}
	LivenessProbe, ReadinessProbe probe
}

func (c *container) UnmarshalYAML(node *yaml.Node) error {
	type plain container
	var probes struct {
		Liveness  probe `yaml:"livenessProbe"`
		Readiness probe `yaml:"readinessProbe"`
	}
	err := errors.Join(node.Decode((*plain)(c)), node.Decode(&probes))
	c.LivenessProbe, c.ReadinessProbe = probes.Liveness, probes.Readiness
	return err
}

type probe struct {
	HTTPGet struct{ Path, Port string } `yaml:"httpGet"`
}

type manifest struct {
	Kind     string
	Metadata struct{ Name string }
	Spec     struct {
		Selector struct {
			MatchLabels map[string]string `yaml:"matchLabels"`
		}
		Template struct {
			Metadata struct{ Labels map[string]string }
			Spec     struct {
				Containers []container
				Grace      float64 `yaml:"terminationGracePeriodSeconds"`
			}
		}
	}
	StringData map[string]string `yaml:"stringData"`
}

func TestKubernetes(t *testing.T) {
	t.Parallel()
	const folder = "deploy/kubernetes"
	listed := documents[struct {
		Resources []string
		Images    []struct{ Name string }
	}](t, folder+"/kustomization.yaml")[0]
	secret := documents[manifest](t, folder+"/secret.yaml")[0]
	pods := map[string]map[string]string{} // By deployment: the labels of its pods.
	var budgets []manifest
	for _, name := range listed.Resources {
		for _, m := range documents[manifest](t, folder+"/"+name) {
			place := name + ": " + m.Metadata.Name
			if m.Kind == "PodDisruptionBudget" {
				budgets = append(budgets, m)
			}
			if m.Kind == "Deployment" {
				pods[m.Metadata.Name] = m.Spec.Template.Metadata.Labels
			}
			for _, c := range m.Spec.Template.Spec.Containers {
				command := accepts(t, place, c.Args)
				if !slices.ContainsFunc(listed.Images, func(i struct{ Name string }) bool { return i.Name == c.Image }) {
					t.Errorf("%s: the image %s has no tag in kustomization.yaml", place, c.Image)
				}
				for _, env := range c.Env {
					isSetting(t, place, env.Name, env.Value)
					ref := env.ValueFrom.SecretKeyRef
					if ref.Name != "" && (ref.Name != secret.Metadata.Name || secret.StringData[ref.Key] == "") {
						t.Errorf("%s: the secret %s has no %s in secret.yaml", place, ref.Name, ref.Key)
					} else if ref.Name != "" {
						isSetting(t, place, env.Name, secret.StringData[ref.Key])
					}
				}
				live, ready := c.LivenessProbe.HTTPGet, c.ReadinessProbe.HTTPGet
				if m.Kind == "Deployment" && (live.Path != "/healthz" || ready.Path != "/readyz" || len(c.Ports) != 1 ||
					live.Port != c.Ports[0].Name || ready.Port != c.Ports[0].Name) {
					t.Errorf("%s: the probes ask %+v and %+v", place, c.LivenessProbe, c.ReadinessProbe)
				}
				grace := time.Duration(m.Spec.Template.Spec.Grace * float64(time.Second))
				if m.Kind == "Deployment" && grace < longestStop(t, command) {
					t.Errorf("%s: it has %v to stop and may need %v", place, grace, longestStop(t, command))
				}
			}
		}
	}
	for _, budget := range budgets {
		covers := func(labels map[string]string) bool {
			for k, v := range budget.Spec.Selector.MatchLabels {
				if labels[k] != v {
					return false
				}
			}
			return true
		}
		n := 0
		for _, labels := range pods {
			if covers(labels) {
				n++
			}
		}
		if n != 1 {
			t.Errorf("the budget %s covers %d deployments, want one", budget.Metadata.Name, n)
		}
	}
	if len(pods) != 2 || len(budgets) != 2 {
		t.Errorf("%d deployments and %d budgets, want two of each", len(pods), len(budgets))
	}
}

// longestStop returns the longest time that a command needs to stop. A worker needs its drain timeout, and the same
// time again if the database is away and it cannot deliver results (see pawl.Client.Run).
func longestStop(t *testing.T, command *cobra.Command) time.Duration {
	t.Helper()
	if command.Name() != "consume" {
		return 10 * time.Second // Requests have five seconds.
	}
	var drain time.Duration
	for _, name := range []string{"drain-timeout", "grace"} {
		d, err := flagvalue.ParseDuration(command.Flag(name).Value.String())
		if err != nil {
			t.Fatal(err)
		}
		drain += d
	}
	return 2*(drain+2*time.Second) + 5*time.Second
}

func TestCompose(t *testing.T) {
	t.Parallel()
	file := documents[struct {
		Services map[string]struct {
			Image       string
			Command     []string
			Environment map[string]string
			Grace       string                                `yaml:"stop_grace_period"`
			DependsOn   map[string]struct{ Condition string } `yaml:"depends_on"`
		}
	}](t, "compose.yaml")[0]
	defaults := regexp.MustCompile(`\$\{\w+:-([^}]*)\}`)
	seen := 0
	for name, s := range file.Services {
		for other := range s.DependsOn {
			if _, ok := file.Services[other]; !ok {
				t.Errorf("compose.yaml: %s depends on %s, which is not a service", name, other)
			}
		}
		if !strings.HasPrefix(s.Image, "pawl") {
			continue
		}
		seen++
		args := s.Command
		if args == nil {
			args = dockerfileCommand(t, "CMD")
		}
		command := accepts(t, "compose.yaml: "+name, args)
		for variable, value := range s.Environment {
			isSetting(t, "compose.yaml: "+name, variable, defaults.ReplaceAllString(value, "$1"))
		}
		if grace, _ := time.ParseDuration(s.Grace); command.Name() == "consume" && grace < longestStop(t, command) {
			t.Errorf("compose.yaml: %s has %q to stop and may need %v", name, s.Grace, longestStop(t, command))
		}
	}
	if seen < 3 {
		t.Errorf("compose.yaml: %d services of pawl, want services that migrate, serve and run jobs", seen)
	}
}

// dockerfileCommand returns the JSON array of the last instruction of a name.
func dockerfileCommand(t *testing.T, instruction string) (args []string) {
	t.Helper()
	for line := range strings.Lines(readFile(t, "Dockerfile")) {
		if at := regexp.MustCompile(`(^|\s)` + instruction + ` (\[.*\])\s*$`).FindStringSubmatch(line); at != nil {
			if err := json.Unmarshal([]byte(at[2]), &args); err != nil {
				t.Fatalf("Dockerfile: %s: %v", line, err)
			}
		}
	}
	return args
}

func TestDockerfile(t *testing.T) {
	t.Parallel()
	accepts(t, "Dockerfile: CMD", dockerfileCommand(t, "CMD"))
	text := readFile(t, "Dockerfile")
	checks := regexp.MustCompile(`(?m)^HEALTHCHECK .* CMD \["/?pawl", "(.*)"\]$`).FindAllStringSubmatch(text, -1)
	if len(checks) != 1 {
		t.Errorf("Dockerfile: %d health checks, want one, in the image that serves", len(checks))
	}
	for _, check := range checks {
		accepts(t, "Dockerfile: HEALTHCHECK", strings.Split(check[1], `", "`))
	}
	for _, env := range regexp.MustCompile(`(?m)^ENV (\w+)=(.*)$`).FindAllStringSubmatch(text, -1) {
		isSetting(t, "Dockerfile", env[1], env[2])
	}
}

func TestUnits(t *testing.T) {
	t.Parallel()
	units, err := filepath.Glob(repository + "/deploy/systemd/*.service")
	if err != nil || len(units) != 2 {
		t.Fatal(units, err)
	}
	for _, path := range units {
		unit := map[string]string{}
		environment := map[string]string{"OPTIONS": "--concurrency 4 --timeout 10m", "PROGRAM": "/bin/true"}
		for line := range strings.Lines(readFile(t, "deploy/systemd/"+filepath.Base(path))) {
			if name, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok && !strings.HasPrefix(name, "#") {
				if unit[name] = value; name == "Environment" {
					name, value, _ = strings.Cut(value, "=")
					environment[name] = strings.ReplaceAll(value, "%i", "send-mail")
				}
			}
		}
		start, ok := strings.CutPrefix(unit["ExecStart"], "/usr/bin/pawl ")
		if !ok {
			t.Errorf("%s starts %q", path, unit["ExecStart"])
		}
		args := strings.Fields(os.Expand(start, func(name string) string { return environment[name] }))
		command := accepts(t, path, args)
		if command.Name() == "consume" && !slices.Contains(args, "send-mail") {
			t.Errorf("%s, started for send-mail, has %q", path, args)
		}
		stop, _ := time.ParseDuration(unit["TimeoutStopSec"] + "s")
		if unit["TimeoutStopSec"] != "" && stop < longestStop(t, command) {
			t.Errorf("%s has %v to stop and may need %v", path, stop, longestStop(t, command))
		}
		for _, page := range regexp.MustCompile(`man:([\w-]+)\(1\)`).FindAllStringSubmatch(unit["Documentation"], -1) {
			if _, _, err := rootCommand(&program.Program{}).Find(strings.Split(page[1], "-")[1:]); err != nil {
				t.Errorf("%s: there is no page %s: %v", path, page[1], err)
			}
		}
	}
	// Settings in comments must be valid when a user removes the comment.
	variable := regexp.MustCompile(`(?m)^# (PAWL_\w+)=(.*)$`)
	for _, line := range variable.FindAllStringSubmatch(readFile(t, "deploy/package/pawl.env"), -1) {
		isSetting(t, "pawl.env", line[1], line[2])
	}
	file := filepath.Join(t.TempDir(), "pawl.yaml")
	text := regexp.MustCompile(`(?m)^# ([a-z_.]+: )`).ReplaceAllString(readFile(t, "deploy/package/pawl.yaml"), "$1")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if s, err := settings.Load(nil, file); err != nil {
		t.Errorf("pawl.yaml, without its comments: %v", err)
	} else if s.Origin("dsn") == "default" {
		t.Error("pawl.yaml, without its comments, sets no dsn")
	}
}

// Each file in the package exists, except those that scripts/package.sh creates.
func TestPackageContents(t *testing.T) {
	t.Parallel()
	nfpm := documents[struct {
		Contents []struct{ Src, Dst string }
		Scripts  map[string]string
	}](t, "deploy/package/nfpm.yaml")[0]
	files := slices.Collect(maps.Values(nfpm.Scripts))
	var to []string
	for _, c := range nfpm.Contents {
		files, to = append(files, c.Src), append(to, c.Dst)
	}
	for _, file := range files {
		if file == "" || strings.HasPrefix(file, "bin/stage/") {
			continue
		}
		if _, err := os.Stat(filepath.Join(repository, file)); err != nil {
			t.Error(err)
		}
	}
	for _, want := range []string{
		"/usr/bin/pawl", "/usr/share/doc/pawl/LICENSE-APACHE", "/usr/share/doc/pawl/LICENSE-MIT", "/usr/share/man/man1/",
		"/usr/lib/systemd/system/pawl.service", "/usr/lib/systemd/system/pawl-worker@.service",
		"/usr/share/bash-completion/completions/pawl",
	} {
		if !slices.Contains(to, want) {
			t.Errorf("the package lacks %s", want)
		}
	}
	call := regexp.MustCompile(`(?m)^"\$STAGE/pawl" ([a-z ]+)`)
	for _, args := range call.FindAllStringSubmatch(readFile(t, "scripts/package.sh"), -1) {
		fields := strings.Fields(args[1])
		if fields[0] == "man" {
			fields = append(fields, "there")
		}
		root := rootCommand(&program.Program{})
		root.InitDefaultCompletionCmd()
		if _, rest, err := root.Find(fields); err != nil || fields[0] == "completion" && len(rest) > 0 {
			t.Errorf("scripts/package.sh: pawl %s: %v %v", args[1], rest, err)
		}
	}
}

// The alerts use metrics that exist.
func TestAlerts(t *testing.T) {
	t.Parallel()
	client, err := pawl.New(nil, pawl.Config{})
	if err != nil {
		t.Fatal(err)
	}
	described := make(chan *prometheus.Desc)
	go func() {
		pawlprom.NewCollector(client, pawlprom.Options{}).Describe(described)
		close(described)
	}()
	names := map[string]bool{}
	for d := range described {
		if at := regexp.MustCompile(`fqName: "(\w+)"`).FindStringSubmatch(d.String()); at != nil {
			names[at[1]] = true
		}
	}
	rules := 0
	for _, group := range documents[struct {
		Groups []struct {
			Rules []struct{ Alert, Expr string }
		}
	}](t, "deploy/prometheus/alerts.yaml")[0].Groups {
		for _, rule := range group.Rules {
			rules++
			for _, name := range regexp.MustCompile(`\bpawl_\w+`).FindAllString(rule.Expr, -1) {
				if !names[name] {
					t.Errorf("alert %s: there is no metric %s", rule.Alert, name)
				}
			}
			if !bytes.Contains([]byte(readFile(t, "docs/operations.md")), []byte("`"+rule.Alert+"`")) {
				t.Errorf("docs/operations.md does not say what to do about %s", rule.Alert)
			}
		}
	}
	if rules == 0 || len(names) == 0 {
		t.Errorf("%d alerts, %d metrics", rules, len(names))
	}
}

// The commands on the page are valid.
func TestOperationsPage(t *testing.T) {
	t.Parallel()
	commands := 0
	shell := regexp.MustCompile("(?s)```sh\n(.*?)```")
	for _, block := range shell.FindAllStringSubmatch(readFile(t, "docs/operations.md"), -1) {
		for line := range strings.Lines(block[1]) {
			line, _, _ = strings.Cut(line, " #")
			if args, ok := strings.CutPrefix(strings.TrimSpace(line), "pawl "); ok {
				commands++
				accepts(t, "docs/operations.md", strings.Fields(args))
			}
		}
	}
	if commands == 0 {
		t.Error("docs/operations.md has no command")
	}
}
