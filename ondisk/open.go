package ondisk

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/beckmq/beck"
	"github.com/beckmq/beck/internal/driver"
)

// Options say how a directory is opened. The zero value works.
type Options struct {
	beck.Options
}

// Open opens a directory, which is made if it does not exist, as a bus. It
// belongs to this process until the bus is closed: for others, opening it is
// beck.ErrInUse.
func Open(dir string, o *Options) (*beck.Bus, error) {
	if o == nil {
		o = &Options{}
	}
	if dir == "" {
		return nil, fmt.Errorf("beck: %w: no directory given", beck.ErrOption)
	}
	if err := checkDurability(driver.Message{Durability: &o.Durability}); err != nil {
		return nil, &beck.Error{Op: "open", Err: err}
	}
	e, err := openEngine(dir, settings{log: o.Logger})
	if err != nil {
		return nil, &beck.Error{Op: "open", Err: err}
	}
	bus, err := beck.New(e, &o.Options)
	if err != nil {
		return nil, errors.Join(err, e.Close(context.Background()))
	}
	return bus, nil
}

// settings are what tests change. The zero value is for real use.
type settings struct {
	log     *slog.Logger
	fs      vfs.FS
	now     func() time.Time
	reserve uint64 // of free space on the disk
	memory  uint64 // of a memtable
	sweep   time.Duration
}

func (s *settings) setDefaults() {
	if s.log == nil {
		s.log = slog.Default()
	}
	if s.fs == nil {
		s.fs = vfs.Default
	}
	if s.now == nil {
		s.now = time.Now
	}
	if s.reserve == 0 {
		s.reserve = reserve
	}
	if s.memory == 0 {
		s.memory = memTableSize
	}
	if s.sweep == 0 {
		s.sweep = sweepInterval
	}
}

func openEngine(dir string, set settings) (*engine, error) {
	set.setDefaults()
	e := &engine{
		dir: dir, log: set.log, now: set.now, queue: newQueue(), mover: newMover(), desk: newDesk(),
		stamps: stampFiles{fs: set.fs, dir: dir},
		room:   &room{fs: set.fs, dir: dir, reserve: set.reserve, now: set.now},
	}
	lock, err := e.lock()
	if err != nil {
		return nil, err
	}
	if err := e.start(set, lock); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return e, nil
}

// lock makes the directory and takes it for this process.
func (e *engine) lock() (*pebble.Lock, error) {
	store := e.stamps.path(storeName)
	if err := makeDir(e.stamps.fs, e.dir); err != nil {
		return nil, e.stamps.problem(err)
	}
	if err := e.stamps.check(); err != nil {
		return nil, err
	}
	if err := makeDir(e.stamps.fs, store); err != nil {
		return nil, e.stamps.problem(err)
	}
	lock, err := pebble.LockDirectory(store, e.stamps.fs)
	var file *fs.PathError
	switch {
	case errors.As(err, &file):
		return nil, e.stamps.problem(err)
	case err != nil:
		return nil, fmt.Errorf("%w: %s; stop the other process, or reach the data through it", driver.ErrInUse, e.dir)
	}
	return lock, nil
}

// start opens the store, checks and loads it, and starts the goroutines.
func (e *engine) start(set settings, lock *pebble.Lock) error {
	mark, known, err := e.stamps.readMark()
	if err != nil {
		return err
	}
	if err := e.openStore(set, lock, known); err != nil {
		return err
	}
	if err = e.load(); err == nil {
		err = e.checkMark(mark, known)
	}
	if err != nil {
		return errors.Join(err, e.db.Close())
	}
	e.closeLock = lock.Close
	finish := make(chan *transaction, inFlight)
	e.running.Go(func() { e.commitLoop(finish) })
	e.running.Go(func() { e.finishLoop(finish) })
	var background context.Context
	background, e.stop = context.WithCancel(context.Background())
	e.background.Go(func() { e.moveLoop(background) })
	e.background.Go(func() { e.sweepLoop(background, set.sweep) })
	return nil
}

// checkMark makes sure that the store has not gone back behind what it held when
// it was last closed, and writes a new mark.
func (e *engine) checkMark(mark uint64, known bool) error {
	found := e.state.global.commits
	if found < mark {
		return fmt.Errorf("%w in %s: the store holds %d batches, but it held %d already: its newest data is missing",
			driver.ErrCorrupt, e.dir, found, mark)
	}
	if known && found == mark {
		return nil
	}
	return e.stamps.writeMark(found)
}

// openStore opens Pebble, in a goroutine of its own, since Pebble may end the
// goroutine that meets a problem it can't go on with: see logger.Fatalf.
func (e *engine) openStore(set settings, lock *pebble.Lock, mustExist bool) error {
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		e.db, err = pebble.Open(e.stamps.path(storeName), e.storeOptions(set, lock, mustExist))
	}()
	<-done
	switch cause := e.failure.Load(); {
	case err != nil:
		return openProblem(e.dir, err)
	case cause != nil && e.db != nil:
		return errors.Join(e.problem(*cause), e.db.Close())
	case cause != nil:
		return e.problem(*cause)
	}
	return nil
}
