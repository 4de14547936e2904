export {
  TransportError,
  type CloseInfo,
  type Connection,
  type Listener,
} from './connection.js';
