/** The flags of `troupe allreduce`. */
import { JSON_OPTION, portOption, type AppOption } from './app-options.js';
import { ICE_SERVERS_OPTION } from './ice-servers.js';
import { LIMITS } from './limits.js';

export const ALLREDUCE_OPTIONS = [
  {
    flag: '--host',
    type: 'text',
    placeholder: 'H',
    group: 'Network',
    default: '127.0.0.1',
    help: 'address to listen on; 0.0.0.0 lets other machines connect',
  },
  portOption('7071'),
  {
    flag: '--reducers',
    type: 'whole',
    placeholder: 'N',
    group: 'Network',
    max: LIMITS.reducers,
    default: '0',
    help: 'threads that sum a part of the parameters each; they listen on the N ports after --port, or on any free ones if that is 0',
  },
  ICE_SERVERS_OPTION,
  {
    flag: '--token',
    type: 'text',
    placeholder: 'TOKEN',
    group: 'Joining',
    secret: true,
    help: 'secret of the coordinator that uses this service; never a token of the run, which workers know (default: TROUPE_ALLREDUCE_TOKEN, or else a random one, printed)',
    maxLength: LIMITS.tokenLength,
  },
  JSON_OPTION,
] as const satisfies readonly AppOption[];
