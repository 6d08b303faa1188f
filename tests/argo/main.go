// Asks the way Argo Rollouts does: its own Prometheus provider, and its own evaluation of conditions.
//
//	argo URL FILE
//
// FILE holds the `metrics` of an AnalysisTemplate, or a whole one. Each is measured once against URL, whatever address
// stands in it; arguments such as {{args.x}} are not filled in. One line of JSON comes out for each, in their order.
package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/argoproj/argo-rollouts/metricproviders/prometheus"
	"github.com/argoproj/argo-rollouts/pkg/apis/rollouts/v1alpha1"
	log "github.com/sirupsen/logrus"
	"sigs.k8s.io/yaml"
)

type measured struct {
	Name    string `json:"name"`
	Phase   string `json:"phase"`
	Value   string `json:"value"`
	Message string `json:"message"`
}

func run(address, file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var template struct {
		Metrics []v1alpha1.Metric             `json:"metrics"`
		Spec    v1alpha1.AnalysisTemplateSpec `json:"spec"`
	}
	if err := yaml.Unmarshal(text, &template); err != nil {
		return err
	}
	log.SetLevel(log.FatalLevel)
	out := json.NewEncoder(os.Stdout)
	for _, metric := range append(template.Metrics, template.Spec.Metrics...) {
		if metric.Provider.Prometheus == nil {
			return fmt.Errorf("metric %s has no Prometheus provider", metric.Name)
		}
		metric.Provider.Prometheus.Address = address
		api, err := prometheus.NewPrometheusAPI(metric)
		if err != nil {
			return err
		}
		provider, err := prometheus.NewPrometheusProvider(api, *log.NewEntry(log.StandardLogger()), metric)
		if err != nil {
			return err
		}
		m := provider.Run(&v1alpha1.AnalysisRun{}, metric)
		if err := out.Encode(measured{metric.Name, string(m.Phase), m.Value, m.Message}); err != nil {
			return err
		}
	}
	return nil
}

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "argo URL FILE")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
