/** Every form in which a model is taken home, as the files of a command or as one file of a download. */
import { checkpointBlocks, weightsOnly, type Checkpoint } from '@troupe/checkpoint';
import { sha256 } from '@troupe/checkpoint/node';
import { ExportError } from '../errors.js';
import type { ExportedFile } from '../folder.js';
import type { ModelForm } from '../forms.js';
import { onnxFolder } from '../onnx.js';
import type { Precision } from '../precision.js';
import { pytorchFolder } from '../pytorch.js';
import { tfjsFolder } from '../tfjs.js';
import { webPage, type Player } from '../web-page.js';
import { tarball } from './tarball.js';

export interface ModelFilesOptions {
  /** Of the weights in a web page. */
  readonly precision: Precision;
  /** The built page; it is only read for a web page. See readPlayer. */
  player(): Promise<Player>;
}

/**
 * The files of a form. The only file of `web` and of `weights` has no name; the others form a folder.
 * @throws ExportError `out_of_range`, `bad_player`, and what `player` throws
 */
export async function modelFiles(
  form: ModelForm,
  checkpoint: Checkpoint,
  { precision, player }: ModelFilesOptions,
): Promise<readonly ExportedFile[]> {
  switch (form) {
    case 'web': {
      const page = webPage(checkpoint, await player(), { precision, sha256 });
      return [{ name: '', bytes: new TextEncoder().encode(page) }];
    }
    case 'pytorch':
      return pytorchFolder(checkpoint, weightsBlocks(checkpoint));
    case 'onnx':
      return onnxFolder(checkpoint);
    case 'tfjs':
      return tfjsFolder(checkpoint);
    case 'weights':
      return [{ name: '', bytes: weightsBlocks(checkpoint) }];
    default:
      return form satisfies never;
  }
}

function weightsBlocks(checkpoint: Checkpoint): readonly Uint8Array[] {
  return checkpointBlocks(weightsOnly(checkpoint), sha256);
}

/** A form as one file. */
export interface ModelFile {
  /** Letters, digits, dots and hyphens: "model-onnx-round-1200.tar.gz". */
  readonly name: string;
  /** Its media type. */
  readonly type: string;
  readonly bytes: Uint8Array;
}

/** Weights are nearly random, so more work would not make the archive smaller. */
const GZIP_LEVEL = 1;

/**
 * The weights of a page are float16 numbers, unless one of them is too large for that.
 * @throws ExportError as modelFiles
 */
export async function modelFile(
  form: ModelForm,
  checkpoint: Checkpoint,
  player: ModelFilesOptions['player'],
): Promise<ModelFile> {
  const round = `round-${checkpoint.round}`;
  const made = (precision: Precision) => modelFiles(form, checkpoint, { precision, player });
  const files = await made('float16').catch((error: unknown) => {
    const isTooLarge =
      error instanceof ExportError && error.code === 'out_of_range' && checkpoint.parameters.every(Number.isFinite);
    if (!isTooLarge) throw error;
    return made('float32');
  });
  const only = joined(files[0]);
  switch (form) {
    case 'web':
      return { name: `model-${round}.html`, type: 'text/html; charset=utf-8', bytes: only };
    case 'weights':
      return { name: `weights-${round}.safetensors`, type: 'application/octet-stream', bytes: only };
    default: {
      const entries = files.map((file) => ({ path: file.name, bytes: joined(file) }));
      const bytes = await tarball(`model-${form}`, entries, GZIP_LEVEL);
      return { name: `model-${form}-${round}.tar.gz`, type: 'application/gzip', bytes };
    }
  }
}

function joined({ bytes }: ExportedFile): Uint8Array {
  return bytes instanceof Uint8Array ? bytes : Buffer.concat(bytes);
}
