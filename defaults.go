package pawl

import (
	"errors"
	"reflect"
	"sync"
)

// specOf is the job that Insert was given.
func specOf(job Args) (JobSpec, error) {
	switch j := job.(type) {
	case nil:
		return JobSpec{}, errors.New("is nil; want a struct with a Kind method, or Raw")
	case JobSpec:
		return j, nil
	case *JobSpec:
		if j == nil {
			return JobSpec{}, errors.New("is a nil *JobSpec")
		}
		return *j, nil
	}
	return JobSpec{Args: job}, nil
}

// fill adds the defaults: the kind's, then the client's.
func (c *Client) fill(spec JobSpec) JobSpec {
	if spec.Args == nil {
		spec.Args = c.config.Defaults.Args
	}
	if d := defaulter(spec.Args); d != nil {
		spec = spec.over(d.Defaults())
	}
	return spec.over(c.config.Defaults)
}

// byPointer says of a type of args whether its pointer alone has Defaults.
var byPointer sync.Map // reflect.Type: bool

// defaulter is who knows the defaults of args, nil if nobody. The Defaults of a pointer count for a plain value too: the kind
// is the same, and nothing would tell that they were passed over.
func defaulter(args Args) Defaulter {
	if d, ok := args.(Defaulter); ok || args == nil {
		return d
	}
	t := reflect.TypeOf(args)
	has, known := byPointer.Load(t)
	if !known {
		has = t.Kind() != reflect.Pointer && reflect.PointerTo(t).Implements(reflect.TypeFor[Defaulter]())
		byPointer.Store(t, has)
	}
	if !has.(bool) {
		return nil
	}
	p := reflect.New(t)
	p.Elem().Set(reflect.ValueOf(args))
	return p.Interface().(Defaulter)
}
