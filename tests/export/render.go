// Renders Go templates as Ollama does, for comparison: standard input is a JSON list of {template, system, messages},
// standard output the JSON list of what the templates write.
package main

import (
	"encoding/json"
	"log"
	"os"
	"strings"
	"text/template"
)

type message struct {
	Role    string
	Content string
}

type job struct {
	Template string
	System   string
	Messages []*message
}

func main() {
	var jobs []job
	if err := json.NewDecoder(os.Stdin).Decode(&jobs); err != nil {
		log.Fatal(err)
	}
	results := make([]string, len(jobs))
	for i, j := range jobs {
		parsed, err := template.New("").Option("missingkey=zero").Parse(j.Template)
		if err != nil {
			log.Fatal(err)
		}
		var out strings.Builder
		values := map[string]any{"System": j.System, "Messages": j.Messages, "Response": ""}
		if err := parsed.Execute(&out, values); err != nil {
			log.Fatal(err)
		}
		results[i] = out.String()
	}
	if err := json.NewEncoder(os.Stdout).Encode(results); err != nil {
		log.Fatal(err)
	}
}
