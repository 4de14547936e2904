/** Whether import() failed because this package is not installed, and not because of something within it. */
export function isMissing(error: unknown, name: string): boolean {
  const { code = '', message } = error as NodeJS.ErrnoException;
  // A bundler puts a module that throws this in the place of an optional package.
  const said = code === 'ERR_MODULE_NOT_FOUND' || code === 'MODULE_NOT_FOUND' || message.startsWith('Could not resolve');
  return said && (message.includes(`'${name}'`) || message.includes(`"${name}"`));
}
