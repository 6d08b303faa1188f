// Command oracle evaluates PromQL with Prometheus' own engine, for tests that compare with it.
//
// Its argument is a file in Prometheus' test language whose `load` commands fill the storage. Each line of standard
// input is a request in JSON (times in milliseconds; a step of 0 is an instant query), each line of standard output
// the answer: an error, or series with the bits of their values, warnings and infos.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"strconv"
	"time"

	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/promql/promqltest"
)

type request struct {
	Q                string
	Start, End, Step int64
	// Late: names are dropped at the end of the evaluation.
	Late bool
}

type series struct {
	Labels map[string]string
	// Points: time in milliseconds, and the bits of the value, both as decimals.
	Points [][2]string
}

type answer struct {
	Err      string   `json:"err,omitempty"`
	Series   []series `json:"series"`
	Warnings []string `json:"warnings"`
	Infos    []string `json:"infos"`
}

// loader is as much of a test as the storage needs.
type loader struct{}

func (loader) Errorf(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }
func (loader) FailNow()                          { os.Exit(1) }
func (loader) Helper()                           {}
func (loader) Logf(string, ...any)               {}
func (loader) Cleanup(func())                    {}
func (loader) Context() context.Context          { return context.Background() }
func (loader) Name() string                      { return "oracle" }
func (loader) TempDir() string {
	folder, err := os.MkdirTemp("", "oracle")
	if err != nil {
		panic(err)
	}
	return folder
}

func engine(late bool) *promql.Engine {
	return promql.NewEngine(promql.EngineOpts{
		MaxSamples:               50_000_000,
		Timeout:                  time.Minute,
		NoStepSubqueryIntervalFn: func(int64) int64 { return time.Minute.Milliseconds() },
		EnableAtModifier:         true,
		EnableNegativeOffset:     true,
		LookbackDelta:            5 * time.Minute,
		EnableDelayedNameRemoval: late,
	})
}

func point(t int64, value float64) [2]string {
	return [2]string{strconv.FormatInt(t, 10), strconv.FormatUint(math.Float64bits(value), 10)}
}

func seriesOf(value parser.Value) []series {
	var all []series
	switch value := value.(type) {
	case promql.Matrix:
		for _, one := range value {
			s := series{Labels: one.Metric.Map()}
			for _, p := range one.Floats {
				s.Points = append(s.Points, point(p.T, p.F))
			}
			all = append(all, s)
		}
	case promql.Vector:
		for _, one := range value {
			all = append(all, series{Labels: one.Metric.Map(), Points: [][2]string{point(one.T, one.F)}})
		}
	case promql.Scalar:
		all = append(all, series{Labels: map[string]string{}, Points: [][2]string{point(value.T, value.V)}})
	}
	return all
}

func main() {
	parser.EnableExperimentalFunctions = true
	load, err := os.ReadFile(os.Args[1])
	if err != nil {
		panic(err)
	}
	storage := promqltest.LoadedStorage(loader{}, string(load))
	engines := map[bool]*promql.Engine{false: engine(false), true: engine(true)}
	ctx := context.Background()
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<20)
	answers := json.NewEncoder(os.Stdout)
	for lines.Scan() {
		var r request
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			panic(err)
		}
		start, end, step := time.UnixMilli(r.Start), time.UnixMilli(r.End), time.Duration(r.Step)*time.Millisecond
		var query promql.Query
		var a answer
		if r.Step == 0 {
			query, err = engines[r.Late].NewInstantQuery(ctx, storage, nil, r.Q, start)
		} else {
			query, err = engines[r.Late].NewRangeQuery(ctx, storage, nil, r.Q, start, end, step)
		}
		if err == nil {
			result := query.Exec(ctx)
			err = result.Err
			if err == nil {
				a.Series = seriesOf(result.Value)
				a.Warnings, a.Infos = result.Warnings.AsStrings(r.Q, 0, 0)
			}
			query.Close()
		}
		if err != nil {
			a.Err = err.Error()
		}
		if err := answers.Encode(a); err != nil {
			panic(err)
		}
	}
}
