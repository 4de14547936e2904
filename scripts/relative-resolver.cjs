// For the linter's search for import cycles, which lie within a project, where imports are relative and end in .js for a .ts file.
const path = require('node:path');

exports.interfaceVersion = 2;
exports.resolve = (source, file) =>
  source.startsWith('.')
    ? { found: true, path: path.resolve(path.dirname(file), source.replace(/\.js$/, '.ts')) }
    : { found: false };
