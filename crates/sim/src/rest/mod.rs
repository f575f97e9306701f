//! What the REST sides of all exchanges have in common: answers, parameters, and answers that are wrong on purpose.

pub(crate) mod faults;
pub(crate) mod params;

use std::cell::RefCell;
use std::rc::Rc;

use crate::hub::Core;
use faults::RestFault;

/// An answer's body and what the ledger notes of it.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    pub body: Vec<u8>,
    pub ids: Option<(u64, u64)>,
    pub fault: Option<String>,
}

impl From<serde_json::Value> for Answer {
    fn from(value: serde_json::Value) -> Self {
        Self { body: value.to_string().into_bytes(), ..Self::default() }
    }
}

/// Makes an answer wrong where it is to be; gives its status, `None` when the connection ends instead.
pub(crate) async fn spoil(core: &Rc<RefCell<Core>>, answer: &mut Answer) -> Option<u16> {
    let Some(fault) = core.borrow_mut().faults.spoils_answer() else { return Some(200) };
    let mut status = 200;
    match fault {
        RestFault::Reset => return None,
        RestFault::Error => {
            status = core.borrow_mut().faults.rng().choice([500, 502, 503]).unwrap_or(500);
            answer.body = b"<html>the server could not answer</html>".to_vec();
        }
        RestFault::Delay => tokio::time::sleep(RestFault::LATE).await,
        _ => match fault.damage(&answer.body, core.borrow_mut().faults.rng()) {
            Some(body) => answer.body = body,
            None => return Some(200),
        },
    }
    answer.fault = Some(fault.name());
    Some(status)
}
