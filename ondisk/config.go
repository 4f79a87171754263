package ondisk

import (
	"context"
	"encoding/binary"
	"time"

	"github.com/beckmq/beck/internal/driver"
)

// configRecord is what a topic keeps.
type configRecord driver.TopicConfig

func (r *configRecord) encode() []byte {
	b := []byte{format1, flag(r.DropOldest)}
	for _, n := range []int64{int64(r.MaxAge), r.MaxMessages, r.MaxBytes, int64(r.DedupeWindow)} {
		b = binary.AppendUvarint(b, uint64(max(0, n)))
	}
	return b
}

func (r *configRecord) decode(b []byte) error {
	d := decode(b)
	r.DropOldest = d.flag()
	r.MaxAge = time.Duration(d.number())
	r.MaxMessages, r.MaxBytes = int64(d.number()), int64(d.number())
	r.DedupeWindow = time.Duration(d.number())
	return d.finish()
}

// Configure sets what a topic keeps. New bounds hold from the next message on.
func (e *engine) Configure(ctx context.Context, name string, config driver.TopicConfig) error {
	if config.MaxBytes > 0 {
		// To hold it, the bytes must be known.
		if err := e.countBytes(ctx, name); err != nil {
			return err
		}
	}
	return e.submit(ctx, &request{size: 128, decide: func(tx *transaction) error {
		t, err := e.makeTopic(tx, name)
		if err != nil {
			return err
		}
		t.configure(config)
		if t.rec.delayed > 0 {
			e.setDue(tx, t, t.due)
		}
		tx.set(tableKey(tagConfig, name), (*configRecord)(&config).encode())
		tx.hint(name)
		return nil
	}})
}

func (t *topic) configure(config driver.TopicConfig) {
	t.config = &config
	t.maxAge.Store(int64(config.MaxAge))
	if !t.bounded() {
		t.front = nil
	}
}
