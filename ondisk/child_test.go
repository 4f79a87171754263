package ondisk

import "os"

// childDirectory is set for a test binary that was started by a test, to use a
// directory at the same time.
func childDirectory() string { return os.Getenv("BECK_TEST_CHILD_DIRECTORY") }

func beChild(dir string) {}
