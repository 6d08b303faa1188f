// The completion of Prometheus' query field (@prometheus-io/codemirror-promql) against a running emac:
// node codemirror_promql_check.mjs URL
import assert from 'node:assert/strict';
import { createRequire } from 'node:module';

// The package's ES modules leave out file endings, which Node needs.
const require = createRequire(import.meta.url);
const { CompletionContext } = require('@codemirror/autocomplete');
const { EditorState } = require('@codemirror/state');
const { PromQLExtension } = require('@prometheus-io/codemirror-promql');
const { newCompleteStrategy } = require('@prometheus-io/codemirror-promql/dist/cjs/complete');
const { HTTPPrometheusClient } = require('@prometheus-io/codemirror-promql/dist/cjs/client/prometheus');

const url = process.argv[2];
const gate = 'emac_journey_gate';
const faults = [];

for (const httpMethod of ['POST', 'GET']) {
  const client = new HTTPPrometheusClient({ url, httpMethod, httpErrorHandler: (error) => faults.push(error) });
  const names = await client.metricNames();
  assert(names.includes(gate) && names.some((name) => !name.startsWith('emac_journey_')), `names by ${httpMethod}`);
  assert((await client.labelNames(gate)).includes('verdict'), `label names by ${httpMethod}`);
  assert.deepEqual(await client.labelValues('verdict', gate), ['block', 'pass', 'review']);
  const series = await client.series(gate, [], 'journey');
  assert(series.length > 0, `series by ${httpMethod}`);
  const metadata = await client.metricMetadata();
  assert.equal(metadata[gate][0].type, 'gauge');
  assert(metadata[gate][0].help.length > 10);
  assert(Object.values(metadata).every((entries) => entries.length > 0), 'no metadata is an empty list');
}
assert.deepEqual(faults, []);

const strategy = newCompleteStrategy({ remote: { url, httpErrorHandler: (error) => faults.push(error) } });
const extension = new PromQLExtension().activateLinter(false).asExtension();

// What is offered where the text ends, or at `|`.
async function offered(text) {
  const at = text.includes('|') ? text.indexOf('|') : text.length;
  const state = EditorState.create({ doc: text.replace('|', ''), extensions: extension });
  const result = await strategy.promQL(new CompletionContext(state, at, true));
  return result.options.map((option) => option.label);
}

async function offers(text, label) {
  const labels = await offered(text);
  assert(labels.includes(label), `${text} offers ${labels.slice(0, 20)}; faults: ${faults}`);
}

await offers('emac_journey_avail', 'emac_journey_availability_pessimistic');
await offers(`sum by (|) (${gate})`, 'verdict');
await offers(`${gate}{|}`, 'journey');
await offers(`${gate}{journey="|"}`, 'checkout');
await offers(`${gate}{journey="checkout",verdict="|"}`, 'review');
// A demo's upstream has no flags, which only the list of features would need.
assert.deepEqual(faults.filter((fault) => !String(fault).includes('404')), []);
