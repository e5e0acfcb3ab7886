package main

import _ "time/tzdata" // Crons have time zones, and a container made from scratch knows none.
