export { serveConnections } from './accept.js';
export { startStarService, type NodeServiceOptions, type NodeStarService } from './service.js';
