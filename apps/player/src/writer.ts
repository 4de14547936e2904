import { CorpusError, createVocabulary, encodePrime } from '@troupe/corpus';
import { REPRODUCIBLE_ENGINE } from '@troupe/engines';
import type { WebModel } from '@troupe/export';
import { createRandom, sample, type Engine } from '@troupe/model';
import { createWasmEngine } from '@troupe/model/wasm';
import type { Settings } from './settings.js';

/** A text that the model writes, as long as anybody asks for more. */
export interface Writing {
  /** The opening as the model reads it; empty if none was given. */
  readonly opening: string;
  /** Ends only with an error: EngineError. */
  readonly characters: AsyncIterator<string, void>;
}

/** More than anybody reads: a text goes on when more of it is asked for. */
const ENDLESS = Number.MAX_SAFE_INTEGER;

/** The engine whose bits are the same in every browser and in Node. @throws EngineError without WebAssembly SIMD */
export async function openEngine({ model, parameters }: WebModel): Promise<Engine> {
  const limits = { maxStreams: 1, maxWindow: 1 };
  const engine = await createWasmEngine(model, limits, { variant: REPRODUCIBLE_ENGINE.variant });
  engine.setParameters(parameters);
  return engine;
}

/**
 * Begins a text: the one that `troupe sample` writes with the same settings. An engine serves one
 * text at a time; ask for no more of the one before.
 * @throws CorpusError `unknown_character`
 */
export function beginText({ model, vocabulary }: WebModel, engine: Engine, settings: Settings): Writing {
  const { characters, ...coding } = createVocabulary(vocabulary);
  const prime = encodePrime({ characters, ...coding }, settings.opening);
  const { temperature, topK, seed } = settings;
  const ids = sample(engine, model, { prime: prime.ids, length: ENDLESS, temperature, topK, random: createRandom(seed) });
  return {
    opening: settings.opening === '' ? '' : prime.text,
    characters: charactersOf(ids, characters),
  };
}

async function* charactersOf(ids: AsyncGenerator<number, void>, characters: readonly string[]): AsyncGenerator<string, void> {
  for await (const id of ids) yield characters[id];
}

/** An error for people, with what they can do about it. */
export function describe(error: unknown): string {
  if (error instanceof CorpusError && error.code === 'unknown_character')
    return `The model cannot read this opening: ${sentences(error)}`;
  return sentences(error as Error);
}

function sentences({ message, remedy = '' }: { readonly message: string; readonly remedy?: string }): string {
  return [message, remedy].filter(Boolean).map(sentence).join(' ');
}

function sentence(text: string): string {
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}${/[.!?]$/.test(text) ? '' : '.'}`;
}
