package pawl

import (
	"context"
	"sync"
	"time"
)

// A claimUndoer undoes consumers' claims whose results were lost. The database may have carried out such a claim.
// Then its jobs would stay claimed until the lease expires, although no consumer has them.
//
// It has one goroutine, which runs while there are claims to undo. If the database is down, the goroutine ends
// undoTime after the last claim.
type claimUndoer struct {
	mu      sync.Mutex
	lost    []lostClaim
	running bool
}

// A lostClaim is a claim to undo.
type lostClaim struct {
	lease string
	ctx   context.Context // Has the values of the claim's context, but ends after undoTime.
	end   context.CancelFunc
	undo  func(ctx context.Context, lease string) error
}

// undoTime is how long the undoer tries to undo a claim. After that the claim's lease expires.
const undoTime = time.Minute

// add undoes a claim in the background.
func (u *claimUndoer) add(ctx context.Context, lease string, undo func(ctx context.Context, lease string) error) {
	ctx, end := context.WithTimeout(context.WithoutCancel(ctx), undoTime)
	u.mu.Lock()
	defer u.mu.Unlock()
	u.lost = append(u.lost, lostClaim{lease: lease, ctx: ctx, end: end, undo: undo})
	if !u.running {
		u.running = true
		go u.run()
	}
}

// run undoes one claim after the other, until there is none left.
func (u *claimUndoer) run() {
	for {
		claim, ok := u.next()
		if !ok {
			return
		}
		_ = claim.undo(claim.ctx, claim.lease) // If it fails, the lease expires.
		claim.end()
	}
}

// next takes the next claim. If there is none, the goroutine ends.
func (u *claimUndoer) next() (claim lostClaim, ok bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.lost) == 0 {
		u.lost, u.running = nil, false
		return lostClaim{}, false
	}
	claim = u.lost[0]
	u.lost = u.lost[1:]
	return claim, true
}
