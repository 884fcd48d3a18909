//! Control messages: only a JSON object is one, and a subscription means what it says.

use serde_json::{Map, Value};
use stoat_ws_hub::fuzzing::{Said, control as parse};

pub fn control(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let said = parse(text);
    if said == Said::Nothing {
        return;
    }
    // Halves of surrogate pairs in other members are no fault of the message.
    let action = match serde_json::from_str::<Map<String, Value>>(text) {
        Ok(object) => object["action"].clone(),
        Err(_) => {
            assert!(text.trim_start().starts_with('{'), "no object");
            return;
        }
    };
    match said {
        Said::Ping => assert_eq!(action, "ping"),
        Said::Subscribe(filter) => {
            assert_eq!(action, "subscribe");
            let mut again = serde_json::to_value(&filter).expect("JSON");
            again["action"] = action;
            assert_eq!(parse(&again.to_string()), Said::Subscribe(filter));
        }
        Said::Nothing => {}
    }
}
