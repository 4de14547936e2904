import { createFetch } from '@troupe/transport/websocket';
import { loadCorpus, type Corpus, type LoadOptions } from '@troupe/corpus/node';
import { onStopRequest } from './processes.js';
import type { Shell } from './shell.js';
import { Screen } from './terminal/screen.js';
import { renderBar } from './terminal/status.js';
import { canRedraw, compactCount, styleFor } from './terminal/style.js';

/**
 * Loads a corpus by name or path. A download shows its progress on a terminal and stops cleanly on
 * Ctrl-C.
 * @throws CorpusError
 */
export async function openCorpus(
  shell: Shell,
  nameOrPath: string,
  { sha256, encoding }: Pick<LoadOptions, 'sha256' | 'encoding'> = {},
): Promise<Corpus> {
  const style = styleFor(shell.stderr, shell.env);
  let received = 0;
  let expected: number | undefined;
  const line = (width: number) => {
    const text = `${nameOrPath} ${compactCount(received)}B${expected === undefined ? '' : ` of ${compactCount(expected)}B`}`;
    return received === 0 ? '' : renderBar(received, expected, text, width, style);
  };
  const screen = new Screen(shell.stderr, { line, quiet: !canRedraw(shell.stderr, shell.env) });
  const stop = new AbortController();
  const abort = () => stop.abort();
  const forget = onStopRequest(shell, abort, abort);
  let corpus: Corpus;
  try {
    corpus = await loadCorpus(nameOrPath, {
      corpusDir: shell.env.TROUPE_CORPUS_DIR,
      sha256,
      encoding,
      signal: stop.signal,
      fetch: createFetch(shell.env),
      onProgress: (bytes, total) => {
        received = bytes;
        expected = total;
      },
    });
  } finally {
    forget();
    screen.close();
  }
  for (const { why } of corpus.skipped) shell.stderr.write(`${style('yellow', 'note:')} ${why}; it is left out\n`);
  return corpus;
}
