package bench

import (
	"context"
	"encoding/binary"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"
)

var _ BareLive = (*Redis)(nil)

// hear subscribes to a channel until stop is called, which waits for the end. It
// returns once Redis has confirmed it.
func (r *Redis) hear(ctx context.Context, channel string, receive func(rueidis.PubSubMessage)) (stop func(), err error) {
	client, release := r.client.Dedicate()
	confirmed := make(chan struct{}, 1)
	ended := client.SetPubSubHooks(rueidis.PubSubHooks{
		OnMessage:      receive,
		OnSubscription: func(rueidis.PubSubSubscription) { confirmed <- struct{}{} },
	})
	if err := client.Do(ctx, client.B().Subscribe().Channel(channel).Build()).Error(); err != nil {
		release()
		return nil, err
	}
	select {
	case <-confirmed:
	case err := <-ended:
		release()
		return nil, err
	}
	return func() {
		client.SetPubSubHooks(rueidis.PubSubHooks{})
		release()
	}, nil
}

func (r *Redis) send(ctx context.Context, channel string, body []byte) error {
	return r.client.Do(ctx, r.client.B().Publish().Channel(channel).Message(rueidis.BinaryString(body)).Build()).Error()
}

// Requests implements BareLive: a publish there, and one back. What is sent begins
// with the number of the one who asks.
func (r *Redis) Requests(stop context.Context, askers int, body []byte) ([]time.Duration, error) {
	ctx := context.WithoutCancel(stop)
	there, back := r.prefix+"bench-bare-ask", r.prefix+"bench-bare-answer"
	var answering sync.WaitGroup
	stopThere, err := r.hear(ctx, there, func(m rueidis.PubSubMessage) {
		answering.Go(func() { _ = r.send(ctx, back, []byte(m.Message)) })
	})
	if err != nil {
		return nil, err
	}
	defer answering.Wait()
	defer stopThere()
	answers := make([]chan struct{}, askers)
	for i := range answers {
		answers[i] = make(chan struct{}, 1)
	}
	stopBack, err := r.hear(ctx, back, func(m rueidis.PubSubMessage) {
		answers[binary.BigEndian.Uint32([]byte(m.Message[:4]))] <- struct{}{}
	})
	if err != nil {
		return nil, err
	}
	defer stopBack()
	free := make(chan uint32, askers)
	for i := range askers {
		free <- uint32(i)
	}
	return timedEach(stop, askers, func() error {
		me := <-free
		defer func() { free <- me }()
		question := append([]byte(nil), body...)
		binary.BigEndian.PutUint32(question, me)
		if err := r.send(ctx, there, question); err != nil {
			return err
		}
		<-answers[me]
		return nil
	})
}

// Broadcasts implements BareLive.
func (r *Redis) Broadcasts(stop context.Context, ahead int, body []byte) (int, error) {
	ctx, channel := context.WithoutCancel(stop), r.prefix+"bench-bare-live"
	var heard atomic.Int64
	stopHearing, err := r.hear(ctx, channel, func(rueidis.PubSubMessage) { heard.Add(1) })
	if err != nil {
		return 0, err
	}
	defer stopHearing()
	sent := int64(0)
	for stop.Err() == nil {
		if sent-heard.Load() >= int64(ahead) {
			time.Sleep(20 * time.Microsecond)
			continue
		}
		if err := r.send(ctx, channel, body); err != nil {
			return 0, err
		}
		sent++
	}
	for end := time.Now().Add(5 * time.Second); heard.Load() < sent && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	return int(heard.Load()), nil
}
