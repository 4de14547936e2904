export { serveConnections } from './accept.js';
export { hmacSha1, iceServersFor } from './ice-servers.js';
export { createListeningService, newSecret } from './listening-service.js';
export { startStarService, type NodeServiceOptions, type NodeStarService } from './service.js';
