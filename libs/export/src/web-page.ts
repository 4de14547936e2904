import type { Sha256 } from '@troupe/checkpoint';
import { ExportError } from './errors.js';
import type { Precision } from './precision.js';
import { encodeWebModel, type TrainedModel } from './web-model.js';

/** The built page of apps/player: the texts of these files in its dist/. */
export interface Player {
  /** index.html */
  readonly html: string;
  /** player.js, one file without imports. */
  readonly script: string;
  /** player.css */
  readonly style: string;
  /** licenses.txt: those of the code in player.js, which must go with it. */
  readonly licenses: string;
}

export interface WebPageOptions {
  readonly precision: Precision;
  readonly sha256: Sha256;
}

/** What index.html has, so that it is a valid page by itself; each is replaced once. */
const SLOTS = {
  policy: `content="default-src 'none'"`,
  style: '<link rel="stylesheet" href="player.css" />',
  model: '<script id="model" type="application/json"></script>',
  weights: '<script id="weights" type="text/plain"></script>',
  licenses: '<script id="licenses" type="text/plain"></script>',
  script: '<script type="module" src="player.js"></script>',
} as const;

/**
 * One HTML file with everything that the model needs to write: weights, vocabulary, kernels and
 * page. It loads nothing, and its content security policy allows nothing but its own style and script.
 * @throws ExportError `out_of_range`, `bad_player`
 */
export function webPage(model: TrainedModel, player: Player, { precision, sha256 }: WebPageOptions): string {
  const { facts, weights } = encodeWebModel(model, precision);
  const script = inlined(player.script, 'script');
  const style = inlined(player.style, 'style');
  return fill(player.html, {
    policy: `content="${policyFor(sourceOf(script, sha256), sourceOf(style, sha256))}"`,
    style: `<style>${style}</style>`,
    // Characters of the text may be any: "<" could end the element.
    model: `<script id="model" type="application/json">${facts.replaceAll('<', '\\u003c')}</script>`,
    weights: `<script id="weights" type="text/plain">${weights}</script>`,
    licenses: `<script id="licenses" type="text/plain">\n${inlined(player.licenses, 'script')}</script>`,
    script: `<script type="module">${script}</script>`,
  });
}

/** For the header `content-security-policy` and its element; data blocks are not scripts, so it needs no hash of them. */
function policyFor(script: string, style: string): string {
  const others = "img-src data:; base-uri 'none'; form-action 'none'";
  return `default-src 'none'; script-src ${script} 'wasm-unsafe-eval'; style-src ${style}; ${others}`;
}

/** The hash of an inline element as a source of a content security policy. */
function sourceOf(text: string, sha256: Sha256): string {
  const hex = sha256(new TextEncoder().encode(text));
  const bytes = hex.match(/../g)!.map((digits) => Number.parseInt(digits, 16));
  return `'sha256-${btoa(String.fromCharCode(...bytes))}'`;
}

/** A text as the content of an element, which begins and ends where the text does. */
function inlined(text: string, element: 'script' | 'style'): string {
  // A browser reads CRLF as LF, which would change the hash.
  const lines = text.replaceAll('\r\n', '\n');
  if (lines.toLowerCase().includes(`</${element}`) || lines.includes('<!--')) {
    throw badPlayer(`a text for a ${element} element holds what ends it`);
  }
  return lines;
}

function fill(html: string, parts: Readonly<Record<keyof typeof SLOTS, string>>): string {
  let filled = html;
  for (const [name, slot] of Object.entries(SLOTS)) {
    const [before, after, more] = filled.split(slot);
    if (after === undefined || more !== undefined) throw badPlayer(`index.html should have this once: ${slot}`);
    filled = before + parts[name as keyof typeof SLOTS] + after;
  }
  return filled;
}

function badPlayer(what: string): ExportError {
  return new ExportError('bad_player', `the page for exported models is not as it should be: ${what}`, 'Build Troupe again.');
}
