package demo

import (
	"time"

	"github.com/pawlhq/pawl"
)

// Fields such as Refused decide which attempts fail, so that every run has the same load.

type emailJob struct {
	User    int `json:"user"`
	Refused int `json:"refused,omitempty"` // The number of attempts that the mail server refuses.
}

type thumbnailJob struct {
	Image   int  `json:"image"`
	Broken  bool `json:"broken,omitempty"`  // Every attempt fails.
	Refused int  `json:"refused,omitempty"` // The number of attempts that the image store refuses.
}

type invoiceJob struct {
	Order int64 `json:"order"`
	Cents int64 `json:"cents"`
	Fails bool  `json:"fails,omitempty"` // The first attempt fails after it has written its row and before the commit.
}

type reminderJob struct {
	Order   int  `json:"order"`
	Unknown bool `json:"unknown,omitempty"` // The order does not exist, so that a retry is useless.
}

type reportJob struct {
	Month  int           `json:"month"`
	Takes  time.Duration `json:"takes"`
	Broken bool          `json:"broken,omitempty"`
}

func (emailJob) Kind() string     { return "email" }
func (thumbnailJob) Kind() string { return "thumbnail" }
func (invoiceJob) Kind() string   { return "invoice" }
func (reminderJob) Kind() string  { return "reminder" }
func (reportJob) Kind() string    { return "report" }

// shortBackoff keeps the demo short.
var shortBackoff = pawl.Backoff{Base: 250 * time.Millisecond, Growth: 2}

// Invoices have the highest priority, and reports the lowest.
func (invoiceJob) Defaults() pawl.JobSpec  { return pawl.JobSpec{Priority: -10, Backoff: shortBackoff} }
func (emailJob) Defaults() pawl.JobSpec    { return pawl.JobSpec{Backoff: shortBackoff} }
func (reminderJob) Defaults() pawl.JobSpec { return pawl.JobSpec{Backoff: shortBackoff} }
func (thumbnailJob) Defaults() pawl.JobSpec {
	return pawl.JobSpec{Priority: 10, Backoff: shortBackoff, MaxAttempts: 3}
}
func (reportJob) Defaults() pawl.JobSpec { return pawl.JobSpec{Priority: 20, Backoff: shortBackoff} }

var (
	kinds   = []string{"email", "thumbnail", "invoice", "reminder", "report"}
	tenants = []string{"acme", "bakery", "cinema", "dentist", "embassy", "florist"}
)
