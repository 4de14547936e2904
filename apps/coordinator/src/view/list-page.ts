/** The page that lists the runs of a folder, as HTML without scripts. */
import { createHash } from 'node:crypto';
import { escapeMarkup, lossOf } from '@troupe/run';
import type { StoredRun } from './stored-run.js';

const STYLE = `:root{color-scheme:light dark}
body{font:16px/1.5 system-ui,sans-serif;max-width:64rem;margin:2rem auto;padding:0 1rem}
.scroll{overflow-x:auto}table{border-collapse:collapse;width:100%}
th,td{text-align:left;padding:.5rem .75rem;border-bottom:1px solid #8886;white-space:nowrap}
.number{text-align:right;font-variant-numeric:tabular-nums}.hint{opacity:.75}`;

/** Only this style, and nothing else, may run or load. */
export const PAGE_HEADERS = {
  'content-security-policy': `default-src 'none'; style-src 'sha256-${createHash('sha256').update(STYLE).digest('base64')}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'`,
} as const;

export interface ListedRun {
  /** The part of its address. */
  readonly name: string;
  /** Undefined: its folder cannot be read. */
  readonly run: StoredRun | undefined;
}

export function listPage(folder: string, rows: readonly ListedRun[]): string {
  const sorted = [...rows].sort((a, b) => startOf(b) - startOf(a));
  const head = ['Run', 'Name', 'Model', 'Text', 'Rounds', 'Best validation', 'State'].map(
    (text) => `<th scope="col">${text}</th>`,
  );
  const table = `<div class="scroll"><table><thead><tr>${head.join('')}</tr></thead><tbody>${sorted.map(rowOf).join('')}</tbody></table></div>`;
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Runs</title><style>${STYLE}</style></head>
<body><main><h1>Runs</h1><p class="hint">${escapeMarkup(folder)}</p>
${rows.length === 0 ? '<p>There is no run in this folder yet. Reload the page when one has started.</p>' : table}
<p class="hint">Losses are in nats/char. Every dashboard can compare its run with the others.</p></main></body></html>
`;
}

function startOf({ run }: ListedRun): number {
  return run?.history.run?.startedAt ?? 0;
}

function rowOf({ name, run }: ListedRun): string {
  const header = run?.history.run;
  if (!run || !header) return `<tr><td>${escapeMarkup(name)}</td><td colspan="6">cannot be read</td></tr>`;
  const [phase, reason] = run.phase();
  const { config, corpus, model } = header;
  const best = run.best === undefined ? '–' : lossOf(run.best).toFixed(3);
  const rounds = `${run.history.lastRound.toLocaleString('en')} / ${config.rounds.toLocaleString('en')}`;
  return `<tr><td><a href="./${name}/">${escapeMarkup(name)}</a></td>${[header.name, model, corpus].map((text) => `<td>${escapeMarkup(text)}</td>`).join('')}<td class="number">${rounds}</td><td class="number">${best}</td><td>${phase === 'running' ? 'computing' : escapeMarkup(reason)}</td></tr>`;
}
