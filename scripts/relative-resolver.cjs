// Resolves imports for the linter's search for cycles. Within a project, imports are relative and end in .js for a .ts file.
const path = require('node:path');

exports.interfaceVersion = 2;
exports.resolve = (source, file) =>
  source.startsWith('.')
    ? { found: true, path: path.resolve(path.dirname(file), source.replace(/\.js$/, '.ts')) }
    : { found: false };
