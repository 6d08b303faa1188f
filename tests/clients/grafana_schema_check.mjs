// Whether the dashboards are what Grafana's own types say a dashboard is: each is written as a literal of TypeScript, in
// which the compiler takes a field that Grafana does not know, or a value that it does not take, for an error.
//   node grafana_schema_check.mjs FILE…
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { spawnSync } from "node:child_process";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const schema = join(here, "node_modules/@grafana/schema/dist/types/raw");

// Which file says what the options of a type of panel are.
const PANELS = {
  bargauge: "bargauge/panelcfg/x/BarGaugePanelCfg_types.gen",
  heatmap: "heatmap/panelcfg/x/HeatmapPanelCfg_types.gen",
  stat: "stat/panelcfg/x/StatPanelCfg_types.gen",
  "state-timeline": "statetimeline/panelcfg/x/StateTimelinePanelCfg_types.gen",
  table: "table/panelcfg/x/TablePanelCfg_types.gen",
  timeseries: "timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen",
};

// Optional throughout, since Grafana fills in defaults; members of an enumeration by their values, as JSON has them.
const HEAD = `
import type { Dashboard, Panel, FieldConfig, FieldConfigSource, VariableModel } from "@grafana/schema";
type Plain<T> = T extends string ? \`\${T}\` | (string extends T ? string : never)
  : T extends number ? (number extends T ? number : T | (\`\${T}\` extends \`\${infer N extends number}\` ? N : never))
  : T extends Array<infer E> ? Array<Plain<E>>
  : T extends object ? { [K in keyof T]?: Plain<T[K]> }
  : T;
// What the datasource for Prometheus asks for a target, by Grafana's schema of its queries.
type Target = {
  refId: string; datasource: { type: "prometheus"; uid: string }; expr: string; legendFormat?: string;
  instant?: boolean; range?: boolean; exemplar?: boolean; format?: "time_series" | "table" | "heatmap"; interval?: string;
  intervalFactor?: number; hide?: boolean; editorMode?: "code" | "builder"; queryType?: string;
};
type Known<T> = { [K in keyof T as string extends K ? never : K]: T[K] };
type Of<Options, Custom> = Omit<Plain<Known<Panel>>, "type" | "options" | "fieldConfig" | "targets"> & {
  id: number; type: string; title: string; gridPos: Plain<Panel["gridPos"]>; targets: Target[]; options?: Plain<Options>;
  fieldConfig?: {
    defaults: Omit<Plain<FieldConfig>, "custom" | "mappings"> & { custom?: Plain<Custom>; mappings?: FieldConfig["mappings"] extends undefined | infer M ? Plain<M> : never };
    overrides: Plain<FieldConfigSource["overrides"]>;
  };
};
type Outer = Omit<Plain<Known<Dashboard>>, "panels" | "templating" | "schemaVersion"> & {
  uid: string; title: string; schemaVersion: number; panels: object[]; templating: { list: Plain<Known<VariableModel>>[] };
};
`;

const work = mkdtempSync(join(here, "schema-"));
let failed = false;
try {
  for (const file of process.argv.slice(2)) {
    const dashboard = JSON.parse(readFileSync(file, "utf8"));
    const { panels, ...outer } = dashboard;
    let text = HEAD;
    const types = [...new Set(panels.map((panel) => panel.type))];
    for (const type of types) {
      if (!PANELS[type]) throw new Error(`${file}: no schema is known for panels of type ${type}`);
      const name = type.replace("-", "_");
      text += `import type * as ${name} from "${join(schema, "composable", PANELS[type])}";\n`;
      const members = readFileSync(join(schema, "composable", `${PANELS[type]}.d.ts`), "utf8");
      const custom = members.includes("interface FieldConfig") ? `${name}.FieldConfig` : "{}";
      text += `type Of_${name} = Of<${name}.Options, ${custom}>;\n`;
    }
    text += `const outer: Outer = ${JSON.stringify({ ...outer, panels: [] }, null, 1)};\n`;
    for (const panel of panels) {
      text += `const panel_${panel.id}: Of_${panel.type.replace("-", "_")} = ${JSON.stringify(panel, null, 1)};\n`;
    }
    const source = join(work, `${basename(file, ".json")}.ts`);
    writeFileSync(source, text);
    const compiler = createRequire(import.meta.url).resolve("typescript/bin/tsc");
    const flags = ["--noEmit", "--strict", "--skipLibCheck", "--target", "es2022", "--module", "esnext", "--moduleResolution", "bundler"];
    const run = spawnSync(process.execPath, [compiler, ...flags, source], { encoding: "utf8" });
    if (run.status !== 0) {
      failed = true;
      console.log(`${file} is not what Grafana calls a dashboard:\n${run.stdout}${run.stderr}`);
    } else {
      console.log(`${file}: ${panels.length} panels of ${types.length} types`);
    }
  }
} finally {
  rmSync(work, { recursive: true });
}
process.exitCode = failed ? 1 : 0;
