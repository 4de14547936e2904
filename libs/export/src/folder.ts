import { modelConfig, modelName } from '@troupe/config';
import type { TrainedModel } from './web-model.js';

/** A file of a folder that is exported. */
export interface ExportedFile {
  /** Without folders. */
  readonly name: string;
  /** In one block or in several that follow each other. */
  readonly bytes: Uint8Array | readonly Uint8Array[];
}

export function textFile(name: string, text: string): ExportedFile {
  return { name, bytes: new TextEncoder().encode(text) };
}

/** [V] characters in the order of their ids, as JSON. */
export function vocabularyFile({ vocabulary }: TrainedModel): ExportedFile {
  return textFile('vocabulary.json', `${JSON.stringify(vocabulary)}\n`);
}

/** The beginning of a README: what the model is. The name of a text may hold anything. */
export function introduction({ model, corpus, round }: TrainedModel): string {
  const name = corpus.name.replaceAll(/[^\p{L}\p{N} ._,-]/gu, '_');
  return `# A character model

${modelName(modelConfig(model))}, trained with Troupe on ${name} for ${round} rounds. It has ${model.vocabulary} characters;
\`vocabulary.json\` lists them in the order of their ids.
`;
}
