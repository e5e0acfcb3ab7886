package pawl

import (
	"context"
	"fmt"
	"strconv"
)

// Page is some of the jobs that meet a Filter.
type Page struct {
	Jobs Jobs   // Newest first.
	Next string // The Cursor of the next page; empty: this is the last.
}

// List is a page of the jobs that meet a filter, newest first, be they live, dead or in the archive.
//
// A page is quick to find where the jobs of it are among the newest, whatever the size of the archive. To learn that there are few, or none,
// takes reading all, or all below Cursor; with States that are not in the archive, all that are live or dead.
func (c *Client) List(ctx context.Context, filter Filter) (Page, error) {
	text, below, _, err := filter.stored(nil)
	if err != nil {
		return Page{}, fmt.Errorf("pawl: list: %w", err)
	}
	limit := filter.Limit
	if limit == 0 {
		limit = 100
	}
	limit = min(limit, 100_000)
	var page Page
	more := false
	err = c.query(ctx, "select * from pawl.list($1::text::jsonb, $2::bigint, $3::integer)", []any{text, below, limit + 1}, func(s scanner) error {
		if len(page.Jobs) == limit {
			more = true
			return nil
		}
		job, err := c.scanJob(s)
		page.Jobs = append(page.Jobs, job)
		return err
	})
	if err != nil {
		return Page{}, fmt.Errorf("pawl: list: %w", err)
	}
	if more {
		page.Next = strconv.FormatInt(int64(page.Jobs[limit-1].ID), 10)
	}
	return page, nil
}

// Count is how many jobs meet a filter, live, dead or in the archive: exactly, so it reads all it counts, and where no index
// helps whole tables. For figures of a queue that are cheap at any size see Stats.
func (c *Client) Count(ctx context.Context, filter Filter) (n int64, err error) {
	text, below, _, err := filter.stored(nil)
	if err == nil {
		var most *int64
		if filter.Limit > 0 {
			limit := int64(filter.Limit)
			most = &limit
		}
		err = c.row(ctx, "select pawl.count($1::text::jsonb, $2::bigint, $3::bigint)", []any{text, below, most}, &n)
	}
	if err != nil {
		return 0, fmt.Errorf("pawl: count: %w", err)
	}
	return n, nil
}
