/** The page of an exported model: a form, and the text that the model writes. */
import { shellQuote } from '@troupe/config/shell';
import { decodeWebModel, type WebModel } from '@troupe/export';
import type { Engine } from '@troupe/model';
import { commandFor, readSettings, type Fields, type Settings } from './settings.js';
import { beginText, describe, openEngine, type Writing } from './writer.js';

/** For this long the model computes before the browser may draw and react, ms. */
const SLICE_MS = 12;

function the<T extends Element = HTMLElement>(id: string, kind?: new () => T): T {
  const found = document.getElementById(id);
  if (!found || (kind && !(found instanceof kind))) throw new Error(`index.html has no such #${id}`);
  return found as unknown as T;
}

const opening = the('opening', HTMLTextAreaElement);
const [write, stop, more, copy] = ['write', 'stop', 'more', 'copy'].map((id) => the(id, HTMLButtonElement));
const [problem, status, given, written] = ['problem', 'status', 'given', 'written'].map((id) => the(id));
const numbers = ['temperature', 'top-k', 'length', 'seed'] as const;

/** The text under way; another one replaces it. */
let writing: Writing | undefined;
/** Ends the writing loop that runs. */
let running: AbortController | undefined;
/** The loop that runs, or ran last: the engine computes one text at a time. */
let loop: Promise<void> = Promise.resolve();

function fieldsOf(): Fields {
  const values = numbers.map((id) => [id, the(id, HTMLInputElement).value]);
  return { opening: opening.value, ...(Object.fromEntries(values) as Record<(typeof numbers)[number], string>) };
}

/** The settings, or undefined after saying what is wrong with them. */
function settingsOfForm(): Settings | undefined {
  for (const id of ['opening', ...numbers]) the(id).removeAttribute('aria-invalid');
  problem.hidden = true;
  const read = readSettings(fieldsOf());
  if ('settings' in read) return read.settings;
  complain(read.problem.text, read.problem.field);
  return undefined;
}

function complain(text: string, field?: string): void {
  problem.textContent = text;
  problem.hidden = false;
  if (field === undefined) return;
  the(field).setAttribute('aria-invalid', 'true');
  the(field).focus();
}

function showButtons(): void {
  stop.disabled = running === undefined;
  more.disabled = running !== undefined || writing === undefined;
  copy.disabled = writing === undefined;
}

async function begin(model: WebModel, engine: Engine): Promise<void> {
  while (running !== undefined) {
    running.abort();
    await loop;
  }
  const settings = settingsOfForm();
  if (settings === undefined) return;
  try {
    writing = beginText(model, engine, settings);
  } catch (error) {
    return complain(describe(error), 'opening');
  }
  given.textContent = writing.opening;
  written.textContent = '';
  the('text').hidden = false;
  the('command').textContent = commandFor(settings, model.precision, shellQuote);
  the('same').hidden = false;
  loop = goOn(writing, settings.length);
}

/** Lets the model write `length` characters more, a slice of time after the other. */
async function goOn({ characters }: Writing, length: number): Promise<void> {
  const { signal } = (running = new AbortController());
  status.textContent = 'Writing…';
  showButtons();
  let left = length;
  try {
    while (left > 0 && !signal.aborted) {
      const text = await slice(characters, left);
      written.append(text);
      left -= [...text].length;
      await new Promise((resolve) => setTimeout(resolve));
    }
    status.textContent = `${(length - left).toLocaleString('en')} characters written${left > 0 ? ', then stopped' : ''}.`;
  } catch (error) {
    status.textContent = '';
    complain(describe(error));
  } finally {
    running = undefined;
    showButtons();
  }
}

/** What the model writes within SLICE_MS, at least one character. */
async function slice(characters: AsyncIterator<string, void>, most: number): Promise<string> {
  const endMs = performance.now() + SLICE_MS;
  let text = '';
  for (let count = 0; count < most && (count === 0 || performance.now() < endMs); count++) {
    text += ((await characters.next()).value as string | undefined) ?? '';
  }
  return text;
}

function continueText(): void {
  const settings = settingsOfForm();
  if (settings !== undefined && writing !== undefined && running === undefined) loop = goOn(writing, settings.length);
}

async function copyText(): Promise<void> {
  const text = (given.textContent ?? '') + (written.textContent ?? '');
  try {
    await navigator.clipboard.writeText(text);
    status.textContent = 'Copied.';
  } catch {
    // Some browsers refuse pages from files: the text is selected instead, ready for the keyboard.
    getSelection()?.selectAllChildren(the('text'));
    status.textContent = 'Selected. Press Ctrl+C or ⌘C to copy it.';
  }
}

function introduce({ name, corpus, round, vocabulary, precision, parameters }: WebModel): void {
  const title = `A model trained on ${corpus}`;
  the('title').textContent = title;
  document.title = title;
  const rounding = precision === 'float16' ? ' Its weights are rounded to float16.' : '';
  const size = `${parameters.length.toLocaleString('en')} parameters, ${vocabulary.length.toLocaleString('en')} characters`;
  the('facts').textContent = `${name}, ${size}, after ${round.toLocaleString('en')} rounds.${rounding}`;
}

async function start(): Promise<void> {
  write.disabled = true;
  const model = decodeWebModel(the('model').textContent ?? '', the('weights').textContent ?? '');
  introduce(model);
  const engine = await openEngine(model);
  write.disabled = false;
  the('form').addEventListener('submit', (event) => {
    event.preventDefault();
    void begin(model, engine);
  });
  opening.addEventListener('keydown', (event) => {
    if (event.key !== 'Enter' || !(event.ctrlKey || event.metaKey)) return;
    event.preventDefault();
    void begin(model, engine);
  });
  stop.addEventListener('click', () => running?.abort());
  more.addEventListener('click', continueText);
  copy.addEventListener('click', () => void copyText());
}

start().catch((error: unknown) => complain(describe(error)));
