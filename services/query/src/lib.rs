//! The query service: answers questions from the ledger, and publishes what operators decide. It decides
//! nothing itself and holds no state; any number of it can run.

pub mod adapters;
pub mod config;
pub mod domain;
mod ledger_query;
mod operator;
pub mod ports;
mod reading;
mod watch;

pub use config::QueryConfig;
pub use ledger_query::LedgerQueryService;
pub use operator::OperatorService;

use millrace_rpc::Routes;
use millrace_rpc::v1::ledger_query_server::LedgerQueryServer;
use millrace_rpc::v1::operator_server::OperatorServer;

/// Both gRPC services, ready to be served with [`millrace_rpc::serve`].
pub fn routes(query: LedgerQueryService, operator: OperatorService) -> Routes {
    Routes::default().add_service(LedgerQueryServer::new(query)).add_service(OperatorServer::new(operator))
}
