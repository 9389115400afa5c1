//! Whose sockets listen where, by the kernel's tables: a stranger may listen where a Prometheus is expected.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A listening socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listener {
    address: IpAddr,
    port: u16,
    /// The user that made it.
    pub uid: u32,
    pub inode: u64,
}

/// The listening sockets in lines of /proc/net/tcp and tcp6, see proc(5).
pub fn listeners(table: &str) -> Vec<Listener> {
    table.lines().filter_map(listener).collect()
}

fn listener(line: &str) -> Option<Listener> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [_, local, _, "0A", _, _, _, uid, _, inode, ..] = words[..] else { return None };
    let (address, port) = local.split_once(':')?;
    Some(Listener {
        address: address_in(address)?,
        port: u16::from_str_radix(port, 16).ok()?,
        uid: uid.parse().ok()?,
        inode: inode.parse().ok()?,
    })
}

/// Words of 32 bits, each in the byte order of the host.
fn address_in(hex: &str) -> Option<IpAddr> {
    let word = |at: usize| Some(u32::from_str_radix(hex.get(at * 8..at * 8 + 8)?, 16).ok()?.to_ne_bytes());
    match hex.len() {
        8 => Some(IpAddr::V4(Ipv4Addr::from(word(0)?))),
        32 => {
            let bytes = [word(0)?, word(1)?, word(2)?, word(3)?].concat();
            Some(IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?)))
        }
        _ => None,
    }
}

/// Those that may get a connection to a host, as a URL names it, and a port: by a name that is not looked up, any.
pub fn accepting<'a>(all: &'a [Listener], host: &str, port: u16) -> impl Iterator<Item = &'a Listener> {
    let asked: Option<IpAddr> = host.trim_start_matches('[').trim_end_matches(']').parse().ok();
    all.iter().filter(move |listener| {
        let address = listener.address.to_canonical();
        listener.port == port
            && asked.is_none_or(|asked| {
                let asked = asked.to_canonical();
                // One of IPv6 may get those of IPv4 too.
                let takes_all = address.is_unspecified() && (address.is_ipv6() || asked.is_ipv4());
                address == asked || takes_all
            })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hostile;

    /// As a host with little-endian words has it.
    #[cfg(target_endian = "little")]
    const TABLE: &str = "\
   0: 0100007F:2382 00000000:0000 0A 00000000:00000000 00:00000000 00000000   101        0 1001 1 0000000000000000 100 0 0 10 0
   1: 00000000:2382 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1002 1 0000000000000000 100 0 0 10 0
   2: 0100007F:2382 0100007F:C3A4 01 00000000:00000000 00:00000000 00000000   101        0 1003 1 0000000000000000 20 4 30 10 -1
   0: 00000000000000000000000000000000:2382 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000 61002 0 1004 1 0 100 0 0 10 0
   1: 00000000000000000000000001000000:2382 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000 61003 0 1005 1 0 100 0 0 10 0
   2: 0000000000000000FFFF00000100007F:2382 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000 61004 0 1006 1 0 100 0 0 10 0
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   9: 0100007F:238 0A
";

    #[test]
    #[cfg(target_endian = "little")]
    fn listeners_are_told_by_the_address_that_they_accept() {
        let all = listeners(TABLE);
        let uids = |host: &str, port: u16| accepting(&all, host, port).map(|one| one.uid).collect::<Vec<_>>();
        assert_eq!(uids("127.0.0.1", 9090), [101, 0, 61002, 61004]);
        assert_eq!(uids("10.0.0.1", 9090), [0, 61002]);
        assert_eq!(uids("[::1]", 9090), [61002, 61003]);
        assert_eq!(uids("localhost", 9090), [101, 0, 61002, 61003, 61004]);
        assert_eq!(uids("127.0.0.1", 9091), [0_u32; 0]);
        assert_eq!(all.iter().map(|one| one.inode).collect::<Vec<_>>(), [1001, 1002, 1004, 1005, 1006]);
    }

    #[test]
    fn hostile_tables_are_survived() {
        hostile::texts(&[TABLE], |table| {
            let all = listeners(table);
            let _ = (accepting(&all, "127.0.0.1", 9090).count(), accepting(&all, table, 9090).count());
        });
    }
}
