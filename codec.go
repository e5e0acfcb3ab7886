package pawl

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
)

// Codec changes args on their way into the database and back: it encrypts, compresses. It is called from many goroutines at once.
//
// Encode gets a job's args as JSON, after the checks of Config; not called for a job without args. Its error is Insert's, and nothing is
// inserted. Decode gets what Encode returned, and returns what it got. Its error, or a panic, makes the job dead,
// "unprocessable"; Client.Retry runs it again once the codec can read it. Neither may change or keep the slice it gets. kind is
// the job's as inserted, a former name where KindOptions.Aliases has one.
//
// Only args are encoded: Data, headers, channel and fingerprint are stored as they are, and so are results, checkpoints, steps and
// the text of a handler's error.
// Args that were inserted without a codec, or by SQL, are not decoded and run as they are. So a Codec does not vouch for where a
// job came from.
type Codec interface {
	Encode(kind string, args []byte) ([]byte, error)
	Decode(kind string, stored []byte) ([]byte, error)
}

// encodedMark begins the JSON string that encoded args are stored as, before their base64. Bytes need not be JSON and the column
// is jsonb; Data is the job's own. The mark is in args and not in opts, so that who copies or replaces args by SQL takes it along
// or leaves it, and cannot part the two.
const encodedMark = `"pawl:codec:`

// encode passes a row's args through the codec.
func (c *Client) encode(index int, r *insertRow) error {
	codec := c.config.Codec
	if codec == nil || r.args == nil {
		return nil
	}
	encoded, err := codec.Encode(r.kind, []byte(*r.args))
	if err != nil {
		return fmt.Errorf("pawl: job %d: Config.Codec: args do not encode: %w", index, err)
	}
	b := make([]byte, 0, len(encodedMark)+base64.StdEncoding.EncodedLen(len(encoded))+1)
	b = base64.StdEncoding.AppendEncode(append(b, encodedMark...), encoded)
	s := string(append(b, '"'))
	r.args = &s
	return nil
}

// decode passes a job's args back through the codec. Where it cannot they stay as stored, and decodeArgs has the error.
func (c *Client) decode(job *JobInfo) error {
	if !bytes.HasPrefix(job.Args, []byte(encodedMark)) {
		return nil
	}
	job.undecoded = caught(func() error {
		codec := c.config.Codec
		if codec == nil {
			return errors.New("they were encoded by a Codec, and this client has none: set Config.Codec")
		}
		stored, err := base64.StdEncoding.AppendDecode(nil, bytes.TrimSuffix(job.Args[len(encodedMark):], []byte{'"'}))
		if err != nil {
			return fmt.Errorf("they are marked as encoded by a Codec, but %w", err)
		}
		args, err := codec.Decode(job.Kind, stored)
		if err != nil {
			return fmt.Errorf("Config.Codec: %w", err)
		}
		if !json.Valid(args) {
			return errors.New("Config.Codec: what Decode returned is not valid JSON")
		}
		job.Args = args
		return nil
	})
	return job.undecoded
}

// decodeClaimed decodes what a consumer claimed. As with a runner, a job whose args do not decode is dead; the consumer gets the
// others.
func (c *Client) decodeClaimed(ctx context.Context, jobs Jobs) Jobs {
	var bad map[string]Jobs // By error: mostly the codec is at fault and it is one.
	jobs = slices.DeleteFunc(jobs, func(job *JobInfo) bool {
		err := c.decode(job)
		if err == nil {
			return false
		}
		if bad == nil {
			bad = map[string]Jobs{}
		}
		bad[err.Error()] = append(bad[err.Error()], job)
		return true
	})
	for text, dead := range bad {
		c.config.Logger.Warn("pawl: args of claimed jobs do not decode", "error", text, "jobs", len(dead), "job", dead[0])
		if err := c.finishClaimed(ctx, dead, resultOf(nil, nil, &unprocessable{dead[0].undecoded})); err != nil {
			c.config.Logger.Warn("pawl: jobs whose args do not decode are held until their lease expires", "jobs", len(dead), "job", dead[0], "error", err)
		}
	}
	return jobs
}
