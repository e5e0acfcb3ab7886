package pawl_test

import (
	"errors"
	"testing"
	"time"

	"github.com/pawlhq/pawl"
	"github.com/pawlhq/pawl/pawlstate"
)

func TestDeleteAndCancelInEveryState(t *testing.T) {
	states := map[pawlstate.State]func(t *testing.T, c *pawl.Client) pawl.ID{
		pawlstate.Ready: func(t *testing.T, c *pawl.Client) pawl.ID { return insert(t, c, Note{1}) },
		pawlstate.Scheduled: func(t *testing.T, c *pawl.Client) pawl.ID {
			return insert(t, c, pawl.JobSpec{Args: Note{1}, Delay: time.Hour})
		},
		pawlstate.Running: func(t *testing.T, c *pawl.Client) pawl.ID {
			insert(t, c, Note{1})
			return claim(t, c, 1)[0].ID
		},
		pawlstate.Completed: func(t *testing.T, c *pawl.Client) pawl.ID {
			insert(t, c, Note{1})
			jobs := claim(t, c, 1)
			if err := c.Complete(t.Context(), jobs); err != nil {
				t.Fatal(err)
			}
			return jobs[0].ID
		},
		pawlstate.Dead: func(t *testing.T, c *pawl.Client) pawl.ID {
			insert(t, c, Note{1})
			jobs := claim(t, c, 1)
			if err := c.Fail(t.Context(), jobs, pawl.Dead(nil)); err != nil {
				t.Fatal(err)
			}
			return jobs[0].ID
		},
	}
	for state, reach := range states {
		t.Run(string(state), func(t *testing.T) {
			t.Parallel()
			client, pool := install(t)
			id := reach(t, client)
			finished := state == pawlstate.Completed || state == pawlstate.Dead
			want := int64(1)
			if finished {
				want = 0
			}
			if n, err := client.Cancel(t.Context(), id); n != want || err != nil {
				t.Errorf("Cancel: %d, %v", n, err)
			}
			job, err := client.Get(t.Context(), id)
			if err != nil {
				t.Fatal(err)
			}
			if !finished && job.State != pawlstate.Cancelled || finished && job.State != state {
				t.Errorf("after Cancel the job is %s", job.State)
			}
			if n, err := client.Delete(t.Context(), id); n != 1 || err != nil {
				t.Errorf("Delete: %d, %v", n, err)
			}
			if _, err := client.Get(t.Context(), id); !errors.Is(err, pawl.ErrNotFound) {
				t.Errorf("after Delete: %v", err)
			}
			id = reach(t, client)
			if n, err := client.Delete(t.Context(), id); n != 1 || err != nil {
				t.Errorf("Delete: %d, %v", n, err)
			}
			if n := liveRows(t, pool); n != 0 {
				t.Errorf("%d rows are left", n)
			}
		})
	}
}
