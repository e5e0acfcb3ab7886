package pawl_test

const childEnv = "PAWL_TEST_CHILD_URL"

func child(url string) int { return 0 }
