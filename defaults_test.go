package pawl_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/pawlhq/pawl"
)

type gentle struct{ Note }

func (gentle) Kind() string { return "gentle" }

func (gentle) Defaults() pawl.JobSpec {
	return pawl.JobSpec{Queue: "kind", Priority: 3, Fingerprint: "kind"}
}

// Defaults with a pointer receiver also count when the args are a value.
type pointing struct{ N int }

func (pointing) Kind() string { return "pointing" }

func (p *pointing) Defaults() pawl.JobSpec {
	return pawl.JobSpec{Args: Note{1}, Queue: "kind", Fingerprint: fmt.Sprint(p.N),
		Headers: map[string]string{"by": "kind"}}
}

func TestDefaults(t *testing.T) {
	t.Parallel()
	client, _ := install(t, func(c *pawl.Config) {
		c.Defaults = pawl.JobSpec{Queue: "config", Priority: 9, Channel: "config", MaxAttempts: 4}
	})
	id := insert(t, client, pawl.JobSpec{Args: gentle{Note{1}}, Fingerprint: "call"})
	job, err := client.Get(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if job.Fingerprint != "call" || job.Queue != "kind" || job.Priority != 3 || job.Channel != "config" ||
		job.MaxAttempts != 4 {
		t.Errorf("got %+v; want what the call says, then the kind, then the config", job)
	}
}

func TestDefaultsOfKindAndClient(t *testing.T) {
	t.Parallel()
	client, pool := install(t, func(c *pawl.Config) {
		c.Defaults = pawl.JobSpec{Args: gentle{Note{7}}, Queue: "config", Priority: 9, Delay: time.Hour,
			Headers: map[string]string{"by": "config"}}
	})
	var jobs []pawl.JobSpec
	var wants []string
	raw := pawl.Raw("gentle", []byte(`{"n":1}`))
	for _, test := range []struct {
		job  pawl.Args
		want string // Kind, queue, priority, fingerprint, headers and state.
	}{
		{Note{1}, "note config 9  config scheduled"},
		{raw, "gentle config 9  config scheduled"},
		{&raw, "gentle config 9  config scheduled"},
		{gentle{Note{1}}, "gentle kind 3 kind config scheduled"},
		{&gentle{Note{1}}, "gentle kind 3 kind config scheduled"},
		{pointing{5}, "pointing kind 9 5 kind scheduled"},
		{&pointing{6}, "pointing kind 9 6 kind scheduled"},
		{pawl.JobSpec{Args: pointing{5}, Queue: "call", Headers: map[string]string{"to": "x"}},
			"pointing call 9 5  scheduled"},
		{&pawl.JobSpec{Args: gentle{}, Priority: -1, RunAt: time.Now().Add(-time.Hour)}, "gentle kind -1 kind config ready"},
		{pawl.JobSpec{}, "gentle kind 3 kind config scheduled"},
		{pawl.JobSpec{Data: []byte("x"), Fingerprint: "call"}, "gentle kind 3 call config scheduled"},
	} {
		id := insert(t, client, test.job)
		if got := described(t, client, id); got != test.want {
			t.Errorf("%+v became %q, want %q", test.job, got, test.want)
		}
		spec, ok := test.job.(pawl.JobSpec)
		if !ok {
			spec = pawl.JobSpec{Args: test.job}
		}
		if _, nested := spec.Args.(*pawl.JobSpec); !nested {
			jobs, wants = append(jobs, spec), append(wants, test.want)
		}
	}
	tx := begin(t, pool)
	for _, c := range []*pawl.Client{client, client.With(tx)} {
		results, err := c.InsertMany(t.Context(), jobs)
		if err != nil {
			t.Fatal(err)
		}
		for i, r := range results {
			if got := described(t, c, r.ID); got != wants[i] {
				t.Errorf("%+v became %q among many, want %q", jobs[i], got, wants[i])
			}
		}
	}
}
