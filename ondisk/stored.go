package ondisk

import (
	"context"
	"errors"

	"github.com/cockroachdb/pebble/v2"

	"github.com/beckmq/beck/internal/driver"
	"github.com/beckmq/beck/internal/streamid"
)

// whereabouts is where the message of a delivery is: in its topic, or, if it was
// requeued, in a record of its own.
type whereabouts struct {
	id     streamid.ID
	copied bool
}

func (d whereabouts) key(s *subscription) []byte {
	if d.copied {
		return idKey(d.id, tagCopy, s.topic, s.name)
	}
	return idKey(d.id, tagMessage, s.topic)
}

// readDelivered reads messages that were delivered. One that is settled meanwhile
// may be gone, and has no body then; if it is not, that is an error.
func (e *engine) readDelivered(ctx context.Context, t *topic, s *subscription, list []whereabouts) ([]driver.Message, error) {
	messages, missing, err := e.readStored(s, list)
	if err != nil || len(missing) == 0 {
		return messages, err
	}
	err = e.submit(ctx, &request{alone: true, decide: func(*transaction) error {
		if e.state.topics[t.name] != t || t.subs[s.name] != s {
			return driver.ErrSubscriptionNotFound
		}
		for _, id := range missing {
			d, delivered := s.find(id)
			if !delivered {
				continue
			}
			key := whereabouts{id, d.copied()}.key(s)
			if found, err := e.has(key); err != nil {
				return err
			} else if !found {
				return e.corrupt(key, errMissing)
			}
		}
		return nil
	}})
	return messages, err
}

// readStored reads what is there, and names what is not.
func (e *engine) readStored(s *subscription, list []whereabouts) (messages []driver.Message, missing []streamid.ID, err error) {
	end, err := e.reading()
	if err != nil {
		return nil, nil, err
	}
	defer end()
	messages = make([]driver.Message, len(list))
	for i, d := range list {
		key := d.key(s)
		value, err := e.get(key)
		switch {
		case errors.Is(err, pebble.ErrNotFound):
			missing = append(missing, d.id)
			continue
		case err != nil:
			return nil, nil, e.problem(err)
		}
		if messages[i], _, err = decodeMessage(value, d.id); err != nil {
			return nil, nil, e.corrupt(key, err)
		}
	}
	return messages, missing, nil
}
