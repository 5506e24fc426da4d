from tenants.models.credentials import ApiToken, FailedSignIns
from tenants.models.principal import Principal
from tenants.models.role import (
    EnvironmentGroupObjectPermission,
    EnvironmentUserObjectPermission,
    Role,
    TenantGroupObjectPermission,
    TenantUserObjectPermission,
)
from tenants.models.tenant import PERMISSIONS, Environment, Resource, RiskClass, Tenant

__all__ = [
    "PERMISSIONS",
    "ApiToken",
    "Environment",
    "EnvironmentGroupObjectPermission",
    "EnvironmentUserObjectPermission",
    "FailedSignIns",
    "Principal",
    "Resource",
    "RiskClass",
    "Role",
    "Tenant",
    "TenantGroupObjectPermission",
    "TenantUserObjectPermission",
]
