import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { ExportError } from '../errors.js';
import type { Player } from '../web-page.js';

/**
 * The page of apps/player, which the build has bundled.
 * @param folder its dist/
 * @param remedy what to type if it is not there
 * @throws ExportError `not_built`
 */
export async function readPlayer(folder: string, remedy: string): Promise<Player> {
  const read = async (name: string): Promise<string> => {
    const file = path.join(folder, name);
    return readFile(file, 'utf8').catch((cause: unknown) => {
      throw new ExportError('not_built', `${file} is missing.`, remedy, { cause });
    });
  };
  const [html, script, style, licenses] = await Promise.all(['index.html', 'player.js', 'player.css', 'licenses.txt'].map(read));
  return { html, script, style, licenses };
}
