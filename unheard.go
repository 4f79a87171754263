package beck

// unheard counts, by id, deliveries that the engine has made and no handler was
// given: their answers were lost, or they were recovered while the message was
// being handled. They must not use up attempts.
type unheard map[string]int

// maxUnheard bounds what is remembered of messages that others may have handled
// meanwhile.
const maxUnheard = 10_000

func (u unheard) add(id string, n int) {
	if n <= 0 {
		return
	}
	if len(u) >= maxUnheard {
		clear(u)
	}
	u[id] += n
}

// heard is the attempt that a delivery is, given how many the engine has counted.
func (u unheard) heard(id string, count int) int {
	n := u[id]
	if n >= count { // it was requeued meanwhile, and is counted anew
		delete(u, id)
		n = 0
	}
	return count - n
}
