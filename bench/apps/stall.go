// stall.js in Go: net/http, answering at once except under /burn/N, which computes for N ms.
// GOMAXPROCS is the number of workers. `stall calibrate` prints how many turns of its loop
// take a ms here, as burn.js does, since the two compilers make different code of it.
package main

import (
	"fmt"
	"log"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// What burn computed goes here, so that the compiler cannot do without it.
var sink uint32

func burn(turns int) {
	x := uint32(1)
	for ; turns > 0; turns-- {
		x = x*1664525 + 1013904223
	}
	atomic.StoreUint32(&sink, x)
}

func cpuTime() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		log.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

func calibrate() {
	const turns = 20_000_000
	best := 0.0
	for trial := 0; trial < 10; trial++ {
		before := cpuTime()
		burn(turns)
		rate := turns / (float64(cpuTime()-before) / float64(time.Millisecond))
		if rate > best {
			best = rate
		}
	}
	fmt.Printf("%.0f\n", best)
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == "calibrate" {
		calibrate()
		return
	}
	perMs, err := strconv.ParseFloat(os.Getenv("BURN_PER_MS"), 64)
	if err != nil {
		log.Fatal(err)
	}
	body := []byte("hello world\n")
	http.HandleFunc("/", func(response http.ResponseWriter, request *http.Request) {
		if strings.HasPrefix(request.URL.Path, "/burn/") {
			ms, err := strconv.ParseFloat(strings.TrimPrefix(request.URL.Path, "/burn/"), 64)
			if err != nil {
				http.Error(response, err.Error(), http.StatusBadRequest)
				return
			}
			burn(int(ms * perMs))
		}
		if _, err := response.Write(body); err != nil {
			log.Print(err)
		}
	})
	log.Fatal(http.ListenAndServe(":"+os.Getenv("PORT"), nil))
}
