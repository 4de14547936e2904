/**
 * Whether import() failed because this package is not installed, rather than because of something
 * inside it.
 */
export function isMissing(error: unknown, name: string): boolean {
  const { code = '', message } = error as NodeJS.ErrnoException;
  // Bundlers replace an optional package by a module that throws this.
  const said = code === 'ERR_MODULE_NOT_FOUND' || code === 'MODULE_NOT_FOUND' || message.startsWith('Could not resolve');
  return said && (message.includes(`'${name}'`) || message.includes(`"${name}"`));
}
