package onredis

// Topics are spread over instances by rendezvous hashing: of each instance a weight is
// computed with the topic, and the heaviest has the topic. So when an instance is
// added, or taken away, just the topics that it gets, or had, change their place.
//
// What is computed here is a promise: programs of all versions, and those in other
// languages, must find the same place. docs/shards.md tells it, and a test holds it.

const (
	fnvOffset = 14695981039346656037
	fnvPrime  = 1099511628211
)

// placeOf returns which of the instances has a topic, a subject or a service. An
// instance's name is its host:port as written in the address, in lower case.
func placeOf(instances []string, topic string) string {
	of := fnv1a(topic)
	var heaviest uint64
	place := ""
	for _, name := range instances {
		w := scatter(of ^ scatter(fnv1a(name)))
		if place == "" || w > heaviest || w == heaviest && name < place {
			heaviest, place = w, name
		}
	}
	return place
}

// fnv1a is the 64-bit FNV-1a hash of the bytes of a text.
func fnv1a(text string) uint64 {
	h := uint64(fnvOffset)
	for i := 0; i < len(text); i++ {
		h = (h ^ uint64(text[i])) * fnvPrime
	}
	return h
}

// scatter is the last step of the 64-bit MurmurHash3: each bit of what it returns
// depends on all bits of h.
func scatter(h uint64) uint64 {
	h = (h ^ h>>33) * 0xff51afd7ed558ccd
	h = (h ^ h>>33) * 0xc4ceb9fe1a85ec53
	return h ^ h>>33
}
