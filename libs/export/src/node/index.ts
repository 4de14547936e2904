export { modelFile, modelFiles, type ModelFile, type ModelFilesOptions } from './model-files.js';
export { readPlayer } from './player.js';
export { tarball, type ArchivedFile } from './tarball.js';
