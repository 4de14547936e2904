/** The flags of `troupe view`. */
import { JSON_OPTION, portOption, type AppOption } from './app-options.js';

export const VIEW_OPTIONS = [
  {
    flag: '--host',
    type: 'text',
    placeholder: 'H',
    group: 'Network',
    default: '127.0.0.1',
    help: 'address to listen on; anyone who reaches another one than the loopback can read the runs',
  },
  portOption('7090'),
  JSON_OPTION,
] as const satisfies readonly AppOption[];
