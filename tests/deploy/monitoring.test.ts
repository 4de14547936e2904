/** Prometheus' settings and alerts, and Grafana's dashboard, against the metrics that a coordinator exposes. */
import { copyFile, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { DECISION_KINDS } from '@troupe/run';
import { stringify } from 'yaml';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { at, end, named, root, SMALL, start, type Running } from '../e2e/troupe.js';
import { call, deploy, has, read, readYaml } from './files.js';

const METRICS_TOKEN = 'reads-metrics';
let folder = '';
/** What `/metrics` answers in mid-run. */
let exposition = '';
const running: Running[] = [];

beforeAll(async () => {
  folder = await mkdtemp(path.join(os.tmpdir(), 'troupe-deploy-'));
  const env = { TROUPE_TOKEN: 'joins', TROUPE_METRICS_TOKEN: METRICS_TOKEN };
  const coordinator = start(['coordinator', ...SMALL, '--rounds', '100000', '--port', '0', '--json'], { cwd: folder, env });
  running.push(coordinator);
  const { address } = await coordinator.line(named('listening'));
  running.push(start(['worker', String(address), '--engine', 'wasm'], { cwd: folder, env }));
  await coordinator.line(at(25));
  const answer = await fetch(`${String(address).replace('ws:', 'http:')}/metrics`, {
    headers: { authorization: `Bearer ${METRICS_TOKEN}` },
    signal: AbortSignal.timeout(10_000),
  });
  expect(answer.status).toBe(200);
  exposition = await answer.text();
}, 60_000);
afterAll(async () => {
  await Promise.all(running.map(end));
  await rm(folder, { recursive: true, force: true });
});

interface Rule {
  readonly alert: string;
  readonly expr: string;
  readonly annotations?: Record<string, string>;
}
interface Rules {
  readonly groups: readonly { readonly name: string; readonly rules: readonly Rule[] }[];
}
interface Dashboard {
  readonly templating: {
    readonly list: readonly { readonly name: string; readonly query: string | { readonly query: string } }[];
  };
  readonly panels: readonly {
    readonly title: string;
    readonly description: string;
    readonly gridPos: Record<'x' | 'y' | 'w' | 'h', number>;
    readonly targets: readonly { readonly expr: string; readonly legendFormat: string }[];
  }[];
}

const rules = (): Rule[] => (readYaml('prometheus/troupe.rules.yml') as Rules).groups.flatMap((group) => group.rules);
const dashboard = JSON.parse(read('grafana/dashboards/troupe.json')) as Dashboard;
const variables = dashboard.templating.list.map(({ query }) => (typeof query === 'string' ? query : query.query));
const queries = dashboard.panels.flatMap(({ targets }) => targets.map(({ expr }) => expr));

/** The names of the exposed series, and the values that each of their labels has. */
function exposed(): { names: Set<string>; labels: Map<string, Set<string>> } {
  const [names, labels] = [new Set<string>(), new Map<string, Set<string>>()];
  for (const line of exposition.split('\n').filter((one) => /^[a-z]/.test(one))) {
    const [, name, list = ''] = /^(\w+)(?:\{(.*)\})? /.exec(line)!;
    names.add(name);
    for (const [, label, value] of list.matchAll(/(\w+)="([^"]*)"/g))
      labels.set(`${name}.${label}`, (labels.get(`${name}.${label}`) ?? new Set()).add(value));
  }
  return { names, labels };
}

/** What an expression asks for that no coordinator has: names of metrics, their labels, and values of these. */
function unknownIn(expression: string): string[] {
  const { names, labels } = exposed();
  const found = [...expression.matchAll(/(troupe_\w+)(?:\{([^}]*)\})?/g)];
  return found.flatMap(([, name, list = '']) => [
    ...(names.has(name) ? [] : [name]),
    ...[...list.matchAll(/(\w+)="([^"]*)"/g)]
      .filter(([, label]) => !['instance', 'job'].includes(label))
      .filter(([, label, value]) => !labels.get(`${name}.${label}`)?.has(value))
      .map(([text]) => `${name}{${text}}`),
  ]);
}

describe('the metrics of a coordinator', () => {
  it('include all that alerts and dashboard ask for', () => {
    for (const expression of [...rules().map(({ expr }) => expr), ...queries, ...variables])
      expect({ expression, unknown: unknownIn(expression) }).toEqual({ expression, unknown: [] });
    expect(unknownIn('rate(troupe_no_such{state="late"}[5m]) + troupe_workers{state="lat"}')).toEqual([
      'troupe_no_such',
      'troupe_no_such{state="late"}',
      'troupe_workers{state="lat"}',
    ]);
  });

  it('count every kind of decision from zero, so that the first one of a kind is an increase', () => {
    expect([...exposed().labels.get('troupe_decisions_total.kind')!].sort()).toEqual([...DECISION_KINDS].sort());
  });

  it('are all on the dashboard, except what no chart shows', () => {
    const hidden = ['troupe_rounds_total', 'troupe_round_seconds_sum', 'troupe_round_seconds_count', 'troupe_info'];
    const shown = [...queries, ...variables].join(' ');
    const missing = [...exposed().names].filter((name) => !new RegExp(`\\b${name}\\b`).test(shown));
    expect(missing.filter((name) => !hidden.includes(name))).toEqual([]);
  });
});

describe('the alerts', () => {
  it('say what happened and what to do, in sentences', () => {
    expect(rules().length).toBeGreaterThan(4);
    for (const { alert, annotations = {} } of rules()) {
      expect(alert).toMatch(/^Troupe[A-Z]/);
      for (const field of ['summary', 'description']) expect(annotations[field]).toMatch(/^[A-Z].*\.$/s);
    }
  });
});

describe('the dashboard', () => {
  it('has panels with a title and a sentence each, which do not overlap', () => {
    const cells = dashboard.panels.flatMap(({ gridPos: { x, y, w, h } }) =>
      Array.from({ length: w * h }, (_, i) => `${x + (i % w)},${y + Math.floor(i / w)}`),
    );
    expect(new Set(cells).size).toBe(cells.length);
    for (const { title, description, gridPos } of dashboard.panels) {
      expect(`${title}: ${description}`).toMatch(/^\S.*: [A-Z0-9].*\.$/);
      expect(gridPos.x + gridPos.w).toBeLessThanOrEqual(24);
    }
  });

  it('shows one coordinator at a time, from the data source that is provisioned beside it', () => {
    for (const query of queries) {
      expect(query).toContain('instance="$instance"');
      expect(query.match(/troupe_\w+/g)!.length).toBe(query.match(/instance="\$instance"/g)!.length);
    }
    const { datasources } = readYaml('grafana/provisioning/datasources/prometheus.yml') as {
      datasources: { type: string; url: string; jsonData: { timeInterval: string } }[];
    };
    const { global } = readYaml('prometheus/prometheus.yml') as { global: { scrape_interval: string } };
    expect(datasources).toMatchObject([
      { type: 'prometheus', url: 'http://prometheus:9090', jsonData: { timeInterval: global.scrape_interval } },
    ]);
    const { providers } = readYaml('grafana/provisioning/dashboards/troupe.yml') as {
      providers: { options: { path: string } }[];
    };
    expect(read('docker/compose.yaml')).toContain(`../grafana/dashboards:${providers[0].options.path}:ro`);
  });
});

describe.skipIf(!has('promtool'))('promtool (apt install prometheus)', () => {
  const promtool = (...args: string[]) => call('promtool', args, { cwd: folder });

  it('accepts the settings and the alerts', async () => {
    for (const file of ['prometheus.yml', 'troupe.rules.yml'])
      await copyFile(path.join(deploy, 'prometheus', file), path.join(folder, file));
    expect(promtool('check', 'config', '--syntax-only', 'prometheus.yml')).toMatchObject({ status: 0 });
    expect(promtool('check', 'rules', 'troupe.rules.yml')).toMatchObject({ status: 0 });
  });

  it('sees each alert fire when it must, and not otherwise', async () => {
    // The test compares labels; annotations would have to be repeated word for word.
    const { groups } = readYaml('prometheus/troupe.rules.yml') as Rules;
    const bare = groups.map((group) => ({ ...group, rules: group.rules.map((rule) => ({ ...rule, annotations: {} })) }));
    await writeFile(path.join(folder, 'troupe.rules.yml'), stringify({ groups: bare }));
    const tests = await readFile(path.join(root, 'tests/deploy/alerts.yml'), 'utf8');
    await writeFile(path.join(folder, 'alerts.yml'), tests);
    const { status, output } = promtool('test', 'rules', 'alerts.yml');
    expect({ status, output }).toMatchObject({ status: 0 });
    for (const { alert } of rules()) expect(tests).toMatch(new RegExp(`alertname: ${alert},\\s+exp_alerts: \\[\\{`));
  });

  it('reads every query of the dashboard', async () => {
    const plain = queries.map((query) => query.replaceAll('$__rate_interval', '1m').replaceAll('$instance', 'a'));
    const records = plain.map((expr, i) => ({ record: `query:${i}`, expr }));
    await writeFile(path.join(folder, 'queries.yml'), stringify({ groups: [{ name: 'dashboard', rules: records }] }));
    expect(promtool('check', 'rules', 'queries.yml')).toMatchObject({ status: 0 });
  });

  it('finds nothing wrong with the metrics', async () => {
    await writeFile(path.join(folder, 'metrics.txt'), exposition);
    const { status, output } = call('sh', ['-c', 'promtool check metrics < metrics.txt'], { cwd: folder });
    expect({ status, output }).toEqual({ status: 0, output: '' });
  });
});
