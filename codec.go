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

// A Codec encodes args before they are stored and decodes them before they are used, for example to encrypt or
// compress them. Its methods are called by several goroutines at once.
//
// Only args are encoded. Data, headers, channels, fingerprints, results, checkpoints, steps and error texts are
// stored as they are. Args that were inserted without a Codec, or by SQL, are used as they are stored. Therefore a
// Codec does not prove where a job came from.
type Codec interface {
	// Encode returns a job's args in the form to store. It gets them as JSON, after the checks of Config. It is not
	// called for a job without args. If Encode returns an error, Insert inserts nothing and returns that error. Encode
	// must not change or keep args.
	Encode(kind string, args []byte) ([]byte, error)
	// Decode returns the args that Encode got. kind is the job's kind when it was inserted, which may be one of
	// KindOptions.Aliases. If Decode returns an error or panics, the job is dead with the reason "unprocessable";
	// Client.Retry runs it again. Decode must not change or keep stored.
	Decode(kind string, stored []byte) ([]byte, error)
}

// encodedMark is the beginning of the JSON string that encoded args are stored as; their base64 follows. Encoded
// bytes need not be JSON, and the column is jsonb. The mark is in the args and not in opts: SQL that copies or
// replaces args then copies or replaces the mark too.
const encodedMark = `"pawl:codec:`

// encode replaces a row's args by their encoded form.
func (c *Client) encode(index int, r *insertRow) error {
	codec := c.config.Codec
	if codec == nil || r.args == nil {
		return nil
	}
	encoded, err := codec.Encode(r.kind, []byte(*r.args))
	if err != nil {
		return fmt.Errorf("pawl: insert job %d: encode args by Config.Codec: %w", index, err)
	}
	b := make([]byte, 0, len(encodedMark)+base64.StdEncoding.EncodedLen(len(encoded))+1)
	b = base64.StdEncoding.AppendEncode(append(b, encodedMark...), encoded)
	s := string(append(b, '"'))
	r.args = &s
	return nil
}

// decode replaces a job's args by their decoded form. If the codec fails, the args stay as stored, and decodeArgs
// returns the error.
func (c *Client) decode(job *JobInfo) error {
	if job.undecoded != nil || !bytes.HasPrefix(job.Args, []byte(encodedMark)) {
		return job.undecoded
	}
	job.undecoded = guarded(func() error {
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
			return errors.New("Config.Codec: Decode returned invalid JSON")
		}
		job.Args = args
		return nil
	})
	return job.undecoded
}

// decodeClaimed decodes the jobs that a consumer claimed, and returns those that decode. The others are dead, as
// with a runner.
func (c *Client) decodeClaimed(ctx context.Context, jobs Jobs) Jobs {
	var bad map[string]Jobs // By error. If the codec is at fault, all have the same.
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
		c.config.Logger.Warn("pawl: args of claimed jobs do not decode",
			"error", text, "jobs", len(dead), "job", dead[0])
		if err := c.finishClaimed(ctx, dead, resultOf(nil, nil, &unprocessable{dead[0].undecoded})); err != nil {
			c.config.Logger.Warn("pawl: jobs whose args do not decode stay claimed until their lease expires",
				"jobs", len(dead), "job", dead[0], "error", err)
		}
	}
	return jobs
}
